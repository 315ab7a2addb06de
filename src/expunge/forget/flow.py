"""`expunge forget`: from a request to evidence, in stages, each kept when it is done.

    OUT.unfinished/flow/     request.json, inspection.json, knowledge.json, study.db, tune.json: numbers, no texts
    OUT.unfinished/built/    rows that were built, and answers: everything with texts
    OUT/                     the same, the run of the chosen settings, verdict.json, results.json, attack.json,
                             report.html, README.md; merged/ where an adapter was trained

The folder has its name when the settings are chosen; the run and what is measured follow there. A stage that is done is
not done again, so that a killed flow goes on with --resume.
"""

import gc
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from expunge.attacks.ask import ask
from expunge.data import Row
from expunge.errors import InputError, Interrupted
from expunge.evaluation.passes.progress import bars
from expunge.files import write_json
from expunge.forget.anchors import recover
from expunge.forget.build import MOST_CHECKED, Built, build, save_rows, spread
from expunge.forget.inspection import Inspection, check_same, in_words, inspect
from expunge.forget.judge import MARGIN, RETAINED, judge
from expunge.forget.know import Knowledge, know
from expunge.forget.knowledge import with_controls
from expunge.forget.request import FINISHED, ForgetRequest, Place, begin
from expunge.forget.settings import PLAIN
from expunge.forget.ship import ship
from expunge.forget.trial import Yardstick
from expunge.forget.tune import Choice, Search, objectives_for, record, search
from expunge.models import check_head, fingerprint, load_model
from expunge.runs import ENVIRONMENT, LOCK, RECIPE, VERDICT
from expunge.training import Recipe, unlearn
from expunge.training.lock import only_process
from expunge.training.recipe import Lora, read_recipe
from expunge.training.steps.reset import learned_from

RUN = "run"
INSPECTION, KNOWLEDGE, TUNED = "inspection.json", "knowledge.json", "tune.json"
ANSWERS = "answers.jsonl"
CHARACTERS_A_TOKEN = 4
"""About; the run itself counts."""
LEAST_KEPT = 8
"""With fewer rows to keep, nothing holds the rest of the model in place."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """What is known before anything is trained.

    Attributes:
        inspection: Of the model.
        known: Places of the forget rows that the model knows.
        built: The sets.
        seconds: What it took to ask about the rows once.
    """

    inspection: Inspection
    known: list[int]
    built: Built
    seconds: float


def forget(
    request: ForgetRequest,
    out: str | Path,
    *,
    resume: bool = False,
    search_only: bool = False,
    redact: bool = False,
    confirm: Callable[[str], bool] = lambda question: True,
    say: Say = print,
    progress: bool = False,
) -> Path:
    """Make a model forget, and show what it forgot.

    Args:
        request: What is asked for.
        out: The folder to make.
        resume: Go on with unfinished work there.
        search_only: End with the recipe that the search chose.
        redact: Leave no text of the forget rows in the folder.
        confirm: Asked once, before anything is trained.
        say: Told what is found and done, a line at a time.
        progress: Show progress bars on the error stream.

    Returns:
        `out`, or the unfinished folder where the answer was no.

    Raises:
        InputError: Unusable input.
        Interrupted: The work can be continued.
    """
    place = Place(Path(out))
    rows = request.rows()
    begin(request, rows, place, resume)
    try:
        if not place.out.exists():
            with only_process(place.work):
                prepared = _prepared(request, rows, place, say, progress)
                if not prepared.known:
                    return _nothing(place, say)
                if not (place.flow / TUNED).is_file() and not confirm(_question(request, prepared)):
                    say(f"Nothing was changed. What was built is in {place.built}.")
                    return place.work
                _tuned(request, prepared, rows, place, say)
                if search_only:
                    write_json(place.flow / FINISHED, {"model": None})
                _named(place)
        if not search_only:
            with only_process(place.out):
                _unlearned(place, say, progress)
                _check_start(request, place)
                ship(request, rows, Built.load(place.built), place, say, progress, redact)
            (place.out / LOCK).unlink(missing_ok=True)
    except InputError:
        if not (place.flow / KNOWLEDGE).is_file():  # nothing to go on with
            shutil.rmtree(place.work, ignore_errors=True)
        raise
    except (Interrupted, KeyboardInterrupt) as error:
        raise Interrupted(f"interrupted. Continue with: expunge forget --resume --out {place.out}.") from error
    return place.out


def _prepared(request: ForgetRequest, rows: Sequence[list[Row]], place: Place, say: Say, progress: bool) -> Prepared:
    """Inspect, ask, build: once, with the target loaded."""
    file = place.flow / KNOWLEDGE
    if file.is_file():
        stored = json.loads(file.read_text(encoding="utf-8"))
        inspection = Inspection(**json.loads((place.flow / INSPECTION).read_text(encoding="utf-8")))
        return Prepared(inspection, stored["known"], Built.load(place.built), stored["seconds"])
    forget_rows, retain, holdout = rows
    style = request.style()
    with bars("target", progress) as report:
        model, words = load_model(request.model)
        check_head(model)
        inspection = inspect(request.model, model, words, request.base, request.adapter)
        write_json(place.flow / INSPECTION, asdict(inspection))
        say(in_words(inspection, request.model))
        for note in inspection.notes:
            say(f"  {note}")
        began = time.monotonic()
        asked = with_controls(forget_rows, holdout)
        found = know(model, words, asked, style, request.seed, report)
        seconds = time.monotonic() - began
        known = found.places
        recovered = recover(model, words, forget_rows, style, request.seed, report) if known else []
    _say_known(found, len(forget_rows), say)
    built = build([forget_rows[i] for i in known], retain, recovered, holdout, request.seed)
    if known:
        say(_said_of_kept(len(built.kept), bool(retain), place.built))
    built.save(place.built)
    save_rows(place.built / "controls.jsonl", asked)
    _save_answers(place.built / ANSWERS, found)
    if not known:  # the verdict follows from what was measured
        verdict = judge(asked, found.values, {PLAIN: found.values}, None)
        write_json(place.work / VERDICT, verdict.to_json())
    write_json(file, {"known": known, "seconds": seconds, **found.to_json()})
    return Prepared(inspection, known, built, seconds)


def _say_known(found: Knowledge, rows: int, say: Say) -> None:
    known, seen = len(found.places), sum(one.known for one in found.rows)
    said = sum(one.said for one in found.rows)
    say(f"The model knows {known} of {rows} rows better than controls of the same form; it says {said} when asked.")
    if not known and seen:
        say(f"  {seen} rows look known, no more than chance makes of rows it never saw.")
    if 0 < known < rows:
        say(f"  {rows - known} rows it does not know are left alone.")


def _said_of_kept(kept: int, given: bool, folder: Path) -> str:
    if kept < LEAST_KEPT:
        raise InputError(
            f"Only {kept} rows that must stay could be {'read' if given else 'recovered from the model'}; {LEAST_KEPT} "
            "are needed to hold the rest of the model in place. Give more with --retain."
        )
    source = "were given" if given else "were recovered: what the model says of others and of the world when asked"
    return f"{kept} rows that must stay {source}; see {folder}."


def _save_answers(path: Path, found: Knowledge) -> None:
    text = "".join(
        json.dumps({"row": i, "answers": each}, ensure_ascii=False) + "\n" for i, each in enumerate(found.answers)
    )
    path.write_text(text, encoding="utf-8")


def _nothing(place: Place, say: Say) -> Path:
    """The verdict is that there is nothing to forget; no model is made."""
    overall = json.loads((place.work / VERDICT).read_text(encoding="utf-8"))["overall"]
    write_json(place.flow / FINISHED, {"model": None})
    (place.work / LOCK).unlink(missing_ok=True)
    place.work.replace(place.out)
    say(f"Verdict: {overall.replace('_', ' ')}. Nothing was changed, and no model was made.")
    return place.out


def _question(request: ForgetRequest, prepared: Prepared) -> str:
    """The one question."""
    sets = prepared.built
    looks = prepared.seconds * (1 + 2 * len(sets.checked) / len(sets.forget))
    minutes = request.trials * 10 * looks / 60
    limit = f", {request.minutes:g} at most" if request.minutes else ""
    trained = "an adapter" if prepared.inspection.adapter else "all weights"
    return (
        f"Search for settings (up to {request.trials} trials, very roughly {max(1, round(minutes))} minutes{limit}) "
        f"and unlearn {len(sets.forget)} rows, training {trained}?"
    )


def _tuned(request: ForgetRequest, prepared: Prepared, rows: Sequence[list[Row]], place: Place, say: Say) -> None:
    """Search, and write the chosen settings as a recipe."""
    if (place.flow / TUNED).is_file():
        return
    built, style = prepared.built, request.style()
    model, words = load_model(request.model)
    check_same(prepared.inspection, fingerprint(model), request.model)
    stay = {"kept": spread(built.kept, MOST_CHECKED), "beside": built.checked}
    before = {name: ask(model, words, each, style, RETAINED) for name, each in stay.items() if each}
    del model
    gc.collect()
    asked = with_controls(built.forget, rows[2])
    recovered = request.retain is None
    yardstick = Yardstick(asked, stay, before, style, request.max_utility_loss, recovered, request.seed)
    names = objectives_for(request.objectives, _removal_is_possible(request, prepared), recovered)
    plan = Search(
        recipe=_shared(request, prepared, place),
        objectives=names,
        sizes=(len(built.forget), len(built.kept)),
        parameters=prepared.inspection.parameters,
        trials=request.trials,
        minutes=request.minutes,
        seed=request.seed,
    )
    choice = search(plan, yardstick, place.flow, say)
    choice.recipe.write(place.work / RECIPE)
    write_json(place.flow / TUNED, record(place.flow, choice, plan, yardstick))
    _say_choice(choice, request, say)


def _shared(request: ForgetRequest, prepared: Prepared, place: Place) -> Recipe:
    base = prepared.inspection.base
    return Recipe(
        model=request.model,
        forget=str(place.built / "forget.jsonl"),
        retain=str(place.built / "kept.jsonl"),
        anchor=base,
        holdout=str(place.built / "unseen.jsonl"),
        lora=Lora.model_validate({}) if prepared.inspection.adapter else None,
        template=request.template,
        system=request.system,
        date=request.date,
    )


def _removal_is_possible(request: ForgetRequest, prepared: Prepared) -> bool:
    """Whether RESET may be tried: with rows to learn again, and a base, or a model that learned from those rows."""
    if request.retain is None or prepared.inspection.adapter or not prepared.built.unseen:
        return False
    if prepared.inspection.base is not None:
        return True
    characters = sum(len(row.prompt) + len(row.completion) for row in prepared.built.kept)
    return learned_from(characters // CHARACTERS_A_TOKEN, prepared.inspection.parameters)


def _say_choice(choice: Choice, request: ForgetRequest, say: Say) -> None:
    look = choice.look
    beside = "" if look.beside is None else f", {max(0.0, look.beside):.1%} on others like them"
    say(
        f"Chosen: trial {choice.number}, {choice.recipe.objective_name}. Above chance known: "
        f"{max(0.0, look.known):.0%}; utility lost: {max(0.0, look.lost):.1%} on rows that must stay{beside}."
    )
    if not choice.within:
        say(
            f"  No setting kept the loss within {request.max_utility_loss:.0%}: give rows that must stay with "
            "--retain, more --trials, or allow more with --max-utility-loss."
        )
    if look.back is not None and look.back > MARGIN:
        say(f"  It is suppressed, not removed: {look.back:.0%} comes back ({look.setting}).")


def _named(place: Place) -> None:
    """The folder gets its name, and the recipe in it names the rows where they lie then."""
    work = place.work
    chosen, built, final = read_recipe(work / RECIPE, {}), str(place.built), str(place.out / place.built.name)
    given = {name: getattr(chosen, name) for name in ("forget", "retain", "holdout")}
    moved = {name: value and value.replace(built, final) for name, value in given.items()}
    chosen.model_copy(update=moved).write(work / RECIPE)
    (work / LOCK).unlink(missing_ok=True)
    work.replace(place.out)


def _unlearned(place: Place, say: Say, progress: bool) -> None:
    """The chosen recipe as a run of its own, whose files are then the folder's."""
    out, run = place.out, place.out / RUN
    if (out / ENVIRONMENT).is_file():
        return
    if not run.exists():
        say("Unlearning with the chosen settings.")
        unlearn(
            read_recipe(out / RECIPE, {}), run, resume=run.with_name(f"{RUN}.unfinished").exists(), quiet=not progress
        )
    # environment.json last: it says that all is there
    for entry in sorted(run.iterdir(), key=lambda entry: entry.name == ENVIRONMENT):
        entry.replace(out / entry.name)
    run.rmdir()


def _check_start(request: ForgetRequest, place: Place) -> None:
    """Refuse to judge a run that began with other weights than those that were inspected."""
    inspection = Inspection(**json.loads((place.flow / INSPECTION).read_text(encoding="utf-8")))
    environment = json.loads((place.out / ENVIRONMENT).read_text(encoding="utf-8"))
    check_same(inspection, environment["fingerprints"]["target_model"], request.model)
