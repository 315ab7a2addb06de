"""Requests to states: each is begun, made, measured and recorded, in this order; each step can be done twice.

What a process that is killed has not recorded, the next one does again from the same rows and settings: training goes
on from its last checkpoint, the rest starts again. So the end is the same.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from expunge.errors import InputError, Interrupted, NonFiniteLoss, Regression
from expunge.files import write_json
from expunge.ledger import redaction
from expunge.ledger.book import Ledger, check_salt, settings_of
from expunge.ledger.digests import digest, file_digests, synchronise_folder
from expunge.ledger.measure import came_back, measure, share
from expunge.ledger.redaction import tidy
from expunge.ledger.rows import described, parsed, read_rows, without, write_rows
from expunge.ledger.timeline import State, Timeline, replay
from expunge.runs import ENVIRONMENT, MEASURED, TEMPORARY, unfinished
from expunge.training import Recipe, read_recipe, unlearn
from expunge.training.lock import only_process

FORGET, RETAIN = "forget.jsonl", "retain.jsonl"


def run(
    folder: str | Path,
    recipe: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    batch: int = 1,
    accept: bool = False,
    redact: bool = False,
    prune: bool = False,
    quiet: bool = False,
    device: str | None = None,
) -> list[State]:
    """Process what is pending, each from the last good model.

    Args:
        folder: of the ledger.
        recipe: in place of the settings given at the start, for what is processed now.
        overrides: by dotted key, over those settings.
        batch: so many pending requests at once.
        accept: take the state in which something came back as good.
        redact: keep the texts of processed requests as salted digests only, once nothing is pending.
        prune: then delete the weights of all states but the last.
        quiet: no progress bars.
        device: of the measurements; default: a GPU if there is one.

    Returns:
        The states that were made.

    Raises:
        InputError: settings or files that cannot be used, or another process is at work.
        Regression: something came back.
        NonFiniteLoss: training diverged.
        Interrupted: run again.
    """
    ledger = Ledger(folder)
    with only_process(ledger.folder):
        check_salt(ledger.timeline())
        tidy(ledger)
        if accept:
            _accept(ledger)
        made = _all(ledger, recipe, overrides or {}, batch, quiet, device, planned=False)
        if redact:
            redaction.redact(ledger)
        if prune:
            redaction.prune(ledger)
    return made


def undo(folder: str | Path, request: str, *, quiet: bool = False, device: str | None = None) -> list[State]:
    """Take a request back: make the model without it, from the one before it, and the later ones again.

    Args:
        folder: of the ledger.
        request: its id.
        quiet: no progress bars.
        device: of the measurements; default: a GPU if there is one.

    Returns:
        The states that were made.

    Raises:
        InputError: there is no such request, or a later one cannot be processed again because its text is erased.
    """
    ledger = Ledger(folder)
    with only_process(ledger.folder):
        check_salt(ledger.timeline())
        tidy(ledger)
        with ledger.store.writing() as writer:
            timeline = replay(writer.records)
            if request not in timeline.requests:
                raise InputError(f"{folder}: there is no request {request!r}. See: expunge ledger status {folder}")
            if not timeline.requests[request].undone:
                _refuse_gone(timeline, request)
                writer.append("undone", {"id": request})
        tidy(ledger)  # an attempt that is given up
        return _all(ledger, None, {}, 1, quiet, device, planned=True)


def _refuse_gone(timeline: Timeline, request: str) -> None:
    own = timeline.state_of(request)
    if own and own.parent and timeline.states[own.parent].pruned:
        raise InputError(f"{request} cannot be undone: the weights of the state before it are deleted.")
    later = timeline.current[timeline.current.index(own) :] if own else []
    again = [name for state in later for name in state.requests if name != request]
    if erased := [name for name in again if timeline.requests[name].redacted]:
        raise InputError(
            f"{request} cannot be undone: {', '.join(erased)}, processed with it or later, would have to be processed "
            "again, and their rows are kept as digests only."
        )


def _accept(ledger: Ledger) -> None:
    with ledger.store.writing() as writer:
        timeline = replay(writer.records)
        if timeline.stopped is None:
            raise InputError("--accept: there is no regression to accept.")
        writer.append("accepted", {"name": timeline.stopped.name})


def _all(
    ledger: Ledger,
    recipe: str | Path | None,
    overrides: Mapping[str, Any],
    batch: int,
    quiet: bool,
    device: str | None,
    planned: bool,
) -> list[State]:
    """Process everything; `planned`: only what an undo has made necessary."""
    made: list[State] = []
    while True:
        timeline = ledger.timeline()
        if not (timeline.planned if planned else timeline.next_requests(batch)):
            return made
        state = _begun(ledger, recipe, overrides, batch)
        try:
            _process(ledger, state, quiet, device)
        except NonFiniteLoss as error:
            raise NonFiniteLoss(
                f"{', '.join(state.requests)}: {error} In a ledger, run again with other settings, e.g. a lower "
                f"train.learning_rate: expunge ledger run {ledger.folder} train.learning_rate=..."
            ) from error
        except (Interrupted, KeyboardInterrupt) as error:
            raise Interrupted(f"interrupted. Go on with: expunge ledger run {ledger.folder}") from error
        timeline = ledger.timeline()
        tidy(ledger)
        if timeline.stopped:
            raise Regression(_regression(ledger, timeline.stopped))
        made.append(timeline.states[state.name])


def _begun(ledger: Ledger, recipe: str | Path | None, overrides: Mapping[str, Any], batch: int) -> State:
    """The state to make next: the one under way, if it was begun with these settings, or a new one."""
    with ledger.store.writing() as writer:
        timeline = replay(writer.records)
        under_way, stopped = timeline.under_way, timeline.stopped
        if under_way and recipe is None and not overrides:
            return under_way
        requests = under_way.requests if under_way else timeline.next_requests(batch)
        base = timeline.planned[0].settings if timeline.planned else timeline.init["settings"]
        settings = _settings(timeline, base, recipe, overrides)
        if under_way and under_way.settings == settings:
            return under_way
        if stopped and stopped.settings == settings and stopped.requests == requests:
            raise InputError(
                f"{_regression(ledger, stopped)} With the same settings it would be the same again: give others "
                "(--objective, train.KEY=VALUE), take it as it is with --accept, or undo a request."
            )
        name = f"{len(writer.records) + 1:04d}-{requests[0]}" + (
            f"-and-{len(requests) - 1}" if len(requests) > 1 else ""
        )
        excluded = [request.id for request in timeline.requests.values() if not request.undone]
        body = {"name": name, "requests": requests, "parent": timeline.last, "settings": settings, "excluded": excluded}
        writer.append("begun", body)
        state = replay(writer.records).under_way
        assert state is not None  # just begun
    tidy(ledger)  # what an attempt with other settings has left
    return state


def _settings(
    timeline: Timeline, base: Mapping[str, Any], path: str | Path | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    places = {"model": timeline.init["model"]["path"], "forget": FORGET, "retain": RETAIN}
    return settings_of(read_recipe(path, {**({} if path else base), **places, **overrides}))


def _regression(ledger: Ledger, state: State) -> str:
    assert state.finished is not None
    found = [
        f"{name} ({state.finished['again'][name]['back']} of {state.finished['again'][name]['forgotten']} rows)"
        for name in state.came_back
    ]
    return (
        f"{ledger.folder.name}: with {', '.join(state.requests)} came back what had been forgotten: "
        f"{', '.join(found)}. The model stays the one before."
    )


def _process(ledger: Ledger, state: State, quiet: bool, device: str | None) -> None:
    """Make, measure and record a state."""
    timeline = ledger.timeline()
    then = _baselines(ledger, timeline, (name for name in _with_text(timeline, state) if name not in state.requests))
    rows = {name: ledger.read_request(timeline.requests[name]) for name in _with_text(timeline, state)}
    own = {name: rows[name][1] for name in state.requests}
    text, every = read_rows(ledger.retain, timeline.retain["digest"])
    gone = [key for name in state.excluded for key in timeline.requests[name].keys]
    kept = without(text, every, gone)
    if not kept:
        raise InputError(
            f"{ledger.folder}: every row of the retain set was requested to be forgotten; none is left to keep."
        )
    retain = parsed(kept, ledger.retain)
    holdout = read_rows(ledger.holdout, timeline.init["holdout"]["digest"])[1] if timeline.init["holdout"] else []

    inputs, out = ledger.inputs(state.name), ledger.state(state.name)
    write_rows(inputs / FORGET, "".join(rows[name][0] for name in state.requests))
    write_rows(inputs / RETAIN, kept)
    recipe = _recipe(ledger, timeline, state, inputs)
    before = measure(recipe.model, recipe, own, retain, holdout, device, progress=not quiet)
    _check_parent(timeline, state, before["model"])
    if not out.exists():
        _train(recipe, out, quiet)
    asked = {name: found[1] for name, found in rows.items()}
    after = measure(str(out), recipe, asked, retain, holdout, device, progress=not quiet)
    for cut_off in out.rglob(TEMPORARY):  # by a kill
        cut_off.unlink()
    write_json(out / MEASURED, {"before": before, "after": after})
    synchronise_folder(out)
    ends = {
        "name": state.name,
        "model": after["model"],
        "files": file_digests(out),
        "rows": {"forget": {name: len(found) for name, found in own.items()}, "retain": described(kept, retain)},
        "known_before": {name: share(values) for name, values in before["requests"].items()},
        "known": {name: share(values) for name, values in after["requests"].items()},
        "retain": {"before": before["retain"], "after": after["retain"]},
        "again": {name: came_back(values, after["requests"][name]) for name, values in then.items()},
    }
    with ledger.store.writing() as writer:
        writer.append("processed", ends)


def _train(recipe: Recipe, out: Path, quiet: bool) -> None:
    resume = (unfinished(out) / ENVIRONMENT).is_file()
    try:
        unlearn(recipe, out, resume=resume, quiet=quiet)
    except InputError as error:
        if resume:
            raise InputError(f"{error} Here: delete {unfinished(out)}, and this request starts again.") from error
        raise


def _with_text(timeline: Timeline, state: State) -> list[str]:
    """The requests that are measured with a state: its own, and the earlier ones whose text there still is."""
    earlier = [name for name in timeline.processed if not timeline.requests[name].redacted]
    return [*earlier, *state.requests]


def _recipe(ledger: Ledger, timeline: Timeline, state: State, inputs: Path) -> Recipe:
    first = timeline.init["model"]["path"]
    parent = first if state.parent is None else str(ledger.state(state.parent))
    places = {"model": parent, "forget": str(inputs / FORGET), "retain": str(inputs / RETAIN)}
    recipe = Recipe.model_validate({**state.settings, **places})
    compares = timeline.init["reference"] == "first" and parent != first and recipe.build_objective().uses_reference
    return recipe.model_copy(update={"reference": first}) if compares else recipe


def _check_parent(timeline: Timeline, state: State, found: Mapping[str, str]) -> None:
    recorded = timeline.init["model"]
    if state.parent is not None:
        recorded = (timeline.states[state.parent].finished or {})["model"]
    if any(recorded[name] != value for name, value in found.items()):
        raise InputError(
            f"{state.parent or recorded['path']}: the model is not the one that was recorded; its weights, "
            "configuration or tokenizer were changed. Put it back, and see: expunge ledger verify"
        )


def _baselines(ledger: Ledger, timeline: Timeline, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What each of these processed requests is compared with."""
    return {name: _measured(ledger, timeline.baseline(name))["after"]["requests"][name] for name in names}


def _measured(ledger: Ledger, state: State) -> dict[str, Any]:
    """What was measured of a state.

    Raises:
        InputError: The file is not what was recorded.
    """
    file = ledger.state(state.name) / MEASURED
    if not file.is_file() or digest(file) != (state.finished or {})["files"][MEASURED]:
        raise InputError(f"{file}: is not what was recorded. Put it back from a copy.")
    return json.loads(file.read_text(encoding="utf-8"))
