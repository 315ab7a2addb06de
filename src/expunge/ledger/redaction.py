"""Deleting what a ledger need not hold: leftovers of killed processes, and texts of requests that are done."""

import shutil
from pathlib import Path

from expunge.errors import InputError
from expunge.ledger.book import Ledger
from expunge.ledger.rows import described, parsed, read_rows, without, write_rows
from expunge.ledger.timeline import Timeline, replay
from expunge.runs import ADAPTER, INPUTS, MODEL, TEMPORARY, UNFINISHED_SUFFIX, held_texts, left_behind, unfinished
from expunge.training.lock import only_process


def redact(ledger: Ledger) -> list[str]:
    """Keep the texts of requests that are processed or undone as salted digests only.

    It is recorded first, and done after that: a process that is killed in between is made up for by the next `tidy`.

    Returns:
        The requests of which this is new.
    """
    with ledger.store.writing() as writer:
        timeline = replay(writer.records)
        done = [name for name in _done(timeline) if not timeline.requests[name].redacted]
        if done:
            text, rows = read_rows(ledger.retain, timeline.retain["digest"])
            forgotten = [name for name in done if not timeline.requests[name].undone]
            kept = without(text, rows, (key for name in forgotten for key in timeline.requests[name].keys))
            body = {"requests": done, "retain": described(kept, parsed(kept, ledger.retain))}
            writer.append("redacted", body)
    tidy(ledger)
    return done


def _done(timeline: Timeline) -> list[str]:
    return [*timeline.processed, *(request.id for request in timeline.requests.values() if request.undone)]


def prune(ledger: Ledger) -> list[str]:
    """Delete the weights of all states but the last good one: they know what later requests made it forget.

    Returns:
        The states of which this is new.

    Raises:
        InputError: the last state is an adapter, which is nothing without the weights below it.
    """
    with ledger.store.writing() as writer:
        timeline = replay(writer.records)
        if timeline.last and (ledger.state(timeline.last) / ADAPTER).is_dir():
            raise InputError("--prune: the last state is an adapter, and needs the weights of those before it.")
        states = (state for state in timeline.states.values() if state.finished and not state.pruned)
        names = [state.name for state in states if state.name != timeline.last]
        if names:
            writer.append("pruned", {"states": names})
    tidy(ledger)
    return names


def tidy(ledger: Ledger) -> None:
    """Delete leftovers, and texts that are to be deleted."""
    _shorten_retain(ledger)
    for path in leftovers(ledger):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _shorten_retain(ledger: Ledger) -> None:
    """Take the rows of redacted requests out of the retain rows, where that was recorded and not yet done."""
    timeline = ledger.timeline()
    erased = [r for r in timeline.requests.values() if r.redacted and not r.undone]
    if not erased or not ledger.retain.is_file():
        return
    text = ledger.retain.read_text(encoding="utf-8")
    rows = parsed(text, ledger.retain)
    if described(text, rows) != timeline.retain:
        kept = without(text, rows, (key for request in erased for key in request.keys))
        if described(kept, parsed(kept, ledger.retain)) == timeline.retain:
            write_rows(ledger.retain, kept)


def leftovers(ledger: Ledger) -> list[Path]:
    """What a killed process, or an attempt that was given up, has left, and texts that were to be deleted.

    What is in no record at all stays: nothing but a lost record explains a state without one.
    """
    with ledger.store.writing() as writer:  # nobody is adding a request meanwhile
        timeline = replay(writer.records)
        under_way = timeline.under_way.name if timeline.under_way else None
        given_up = [ledger.state(n) for n, state in timeline.states.items() if not state.finished and n != under_way]
        attempts = [path for state in given_up for path in (state, unfinished(state))]
        texts = [ledger.rows_of(request.id) for request in timeline.requests.values() if request.redacted]
        pruned = [ledger.state(name) for name, state in timeline.states.items() if state.pruned]
        weights = [state / name for state in pruned for name in (MODEL, ADAPTER)]
        found = [path for path in (*attempts, *texts, *weights) if path.exists()]
        found += [path for path in (ledger.folder / INPUTS).iterdir() if path.name != under_way]
        return found + [path for folder in (ledger.folder, ledger.requests) for path in folder.glob(TEMPORARY)]


def purge(folder: str | Path, dry_run: bool = False) -> tuple[list[Path], list[Path]]:
    """Delete what a ledger holds of texts, as `expunge purge` does: leftovers, the attempt under way (it starts again),
    texts in states, and the rows of requests that are done, which is recorded.

    Returns:
        What is deleted, and the rows of requests that are kept because they are still to be processed.
    """
    ledger = Ledger(folder)
    with only_process(ledger.folder):
        timeline = ledger.timeline()
        found = [*leftovers(ledger), *left_behind(ledger.folder)]
        if timeline.under_way:
            attempt = ledger.state(timeline.under_way.name)
            found += [p for p in (ledger.inputs(attempt.name), attempt, unfinished(attempt)) if p.exists()]
        states = [ledger.state(name) for name in timeline.states]
        found += [path for state in states if state.is_dir() for path in held_texts(state)]
        found += [ledger.rows_of(name) for name in _done(timeline) if ledger.rows_of(name).exists()]
        found += [file for file in ledger.requests.glob("*.jsonl") if file.stem not in timeline.requests]
        found += ledger.states.glob(f"*{UNFINISHED_SUFFIX}")
        found = [path for path in dict.fromkeys(found) if not set(path.parents) & set(found)]
        if not dry_run:
            redact(ledger)
            for path in found:
                if path.exists():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        return found, [path for r in timeline.requests if (path := ledger.rows_of(r)).exists() and path not in found]
