"""What ships: verdict, measurements and attacks on the artefact itself, a merged model, a model card, the report."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from expunge.attacks.base import AttackData
from expunge.attacks.run import attack
from expunge.data import Row
from expunge.evaluation import ComparedWith, Execution, Questions, evaluate
from expunge.files import whole_file, write_json
from expunge.forget.build import Built, spread
from expunge.forget.card import card
from expunge.forget.request import FINISHED, ForgetRequest, Place
from expunge.forget.verify import verify
from expunge.models.merge import merge_adapter
from expunge.report import write_report
from expunge.runs import ADAPTER, ATTACK, CARD, MERGED, REPORT, RESULTS, VERDICT, held_texts

MOST_KEPT = 200
"""So many of the rows that must stay are measured."""


def ship(
    request: ForgetRequest,
    rows: Sequence[list[Row]],
    built: Built,
    place: Place,
    say: Callable[[str], None],
    progress: bool,
    redact: bool,
) -> None:
    """Judge, measure and attack the model in the run folder, and write all that goes with it.

    Args:
        request: What was asked for.
        rows: Forget, retain and holdout rows, as given.
        built: The sets that were built.
        place: Of the run.
        say: Told each step.
        progress: Show progress bars.
        redact: Leave no text of the forget rows in the folder.
    """
    out = place.out
    forget, given, holdout = rows
    kept = spread(given or [*built.kept, *built.checked], MOST_KEPT)
    style = request.style()
    if not (out / VERDICT).is_file():
        say("Judging each row: as it is, in other words, after relearning, in fewer bits.")
        verify(
            *(out, request.model, forget, kept, holdout),
            others={
                "rows like them that were not trained on": built.checked,
                "such rows with a forgotten name in the question": built.neighbours,
            },
            style=style,
            seed=request.seed,
            out=out,
            progress=progress,
        )
    if not (out / RESULTS).is_file():
        say("Measuring it, and the model before it.")
        sets = {"forget": forget, "retain": kept, **({"holdout": holdout} if holdout else {})}
        evaluate(
            out,
            Questions("own", sets, template=request.template, system=request.system, date=request.date),
            compared_with=ComparedWith(target_model=request.model),
            execution=Execution(progress=progress),
            out=out / RESULTS,
        )
    if not (out / ATTACK).is_file():
        say("Attacking both.")
        attack(
            {"target": request.model, "unlearned": str(out)},
            AttackData(forget, kept, holdout or built.unseen),
            style=style,
            seed=request.seed,
            quick=True,
            out=out / ATTACK,
            progress=progress,
        )
    if (out / ADAPTER).is_dir() and not (out / MERGED).exists():
        merge_adapter(out, out / MERGED)
    verdict = json.loads((out / VERDICT).read_text(encoding="utf-8"))
    with whole_file(out / CARD) as part:
        part.write_text(card(request, verdict, out), encoding="utf-8")
    write_report([out], out / REPORT, redact=redact)
    if redact:
        _remove(held_texts(out))
    write_json(place.flow / FINISHED, {"model": str(out)})


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
