"""`expunge ledger verify`: is everything as it was recorded?"""

from collections.abc import Iterator
from pathlib import Path

from expunge.errors import InputError
from expunge.ledger.book import Ledger, check_salt
from expunge.ledger.digests import RECORDED, file_digests
from expunge.ledger.measure import identity, load
from expunge.ledger.rows import key, parsed, read_rows
from expunge.ledger.timeline import State, Timeline, replay
from expunge.training import Recipe


def verify(folder: str | Path, head: str | None = None) -> tuple[int, str]:
    """Compute the chain and every digest again: records, rows, weights, results.

    Args:
        folder: of the ledger.
        head: the digest of a record, as it was noted at some time; what was recorded up to it must still be there.

    Returns:
        How many records there are, and the digest of the last one.

    Raises:
        InputError: something is not as it was recorded; the message names every such thing.
    """
    ledger = Ledger(folder)
    records = ledger.store.records()
    timeline = replay(records)
    check_salt(timeline)
    found = []
    if head is not None and head not in {record.digest for record in records}:
        found.append(f"no record has the digest {head}: records were replaced or taken away after it was noted")
    found += [*_rows(ledger, timeline), *_first_model(timeline), *_states(ledger, timeline)]
    if found:
        raise InputError("\n  ".join([f"{folder}: not as recorded:", *found]))
    return len(records), timeline.head


def _rows(ledger: Ledger, timeline: Timeline) -> Iterator[str]:
    files = {ledger.retain: timeline.retain["digest"]}
    if timeline.init["holdout"]:
        files[ledger.holdout] = timeline.init["holdout"]["digest"]
    files |= {ledger.rows_of(r.id): r.digest for r in timeline.requests.values() if not r.redacted}
    for path, digest in files.items():
        try:
            read_rows(path, digest)
        except InputError as error:
            yield str(error)
    for request in timeline.requests.values():
        if request.redacted and ledger.rows_of(request.id).exists():
            yield f"{ledger.rows_of(request.id)}: should have been deleted; expunge ledger run deletes it"
        elif not request.redacted and ledger.rows_of(request.id).is_file():
            rows = parsed(ledger.rows_of(request.id).read_text(encoding="utf-8"), ledger.rows_of(request.id))
            if [key(row) for row in rows] != request.keys:
                yield f"{request.id}: the digests of its rows are not those of its file"
    for path in ledger.requests.glob("*.jsonl"):
        if path.stem not in timeline.requests:
            yield (
                f"{path}: is in no record: a killed `add` has left it, or the record was taken away. Add the request "
                "again; expunge purge deletes the file"
            )


def _first_model(timeline: Timeline) -> Iterator[str]:
    settings, model = timeline.init["settings"], timeline.init["model"]
    recipe = Recipe.model_validate({**settings, "model": model["path"], "forget": "-"})
    yield from _model("the first model", model["path"], recipe, model)


def _states(ledger: Ledger, timeline: Timeline) -> Iterator[str]:
    for state in timeline.states.values():
        if state.finished is not None:
            yield from _state(ledger, state, state.finished)
    going_on = timeline.under_way.name if timeline.under_way else None
    for path in ledger.states.iterdir():
        name = path.name.partition(".unfinished")[0]
        if name != going_on and (name not in timeline.states or not timeline.states[name].finished):
            yield f"{path}: is in no record"


def _state(ledger: Ledger, state: State, finished: dict) -> Iterator[str]:
    place = ledger.state(state.name)
    if not place.is_dir():
        yield f"{place}: is missing"
        return
    written, now = finished["files"], file_digests(place)
    if state.pruned:
        written = {name: value for name, value in written.items() if name in RECORDED}
    changed = [name for name in {**written, **now} if written.get(name) != now.get(name)]
    for name in changed:
        what = "is missing" if name not in now else "was edited" if name in written else "is in no record"
        yield f"{place / name}: {what}"
    if not changed and not state.pruned:
        recipe = Recipe.model_validate({**state.settings, "model": str(place), "forget": "-"})
        yield from _model(str(place), str(place), recipe, finished["model"])


def _model(name: str, place: str, recipe: Recipe, recorded: dict[str, str]) -> Iterator[str]:
    try:
        now = identity(*load(place, recipe))
    except InputError as error:
        yield f"{name}: {error}"
        return
    for what, value in now.items():
        if recorded[what] != value:
            yield f"{name} ({place}): its {what} is {value}, and was {recorded[what]}"
