"""From records to where a ledger stands: requests, states of the model, what is under way and what is to come.

Nothing here is stored: it is read off the records each time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from expunge.ledger.store import Record


@dataclass
class Request:
    """A request to forget.

    Attributes:
        id: given by the user.
        note: likewise.
        rows: how many.
        digest: salted, of its file.
        keys: a salted digest of the words of each row.
        added: when.
        undone: whether it was taken back.
        redacted: whether its rows are kept as digests alone.
    """

    id: str
    note: str
    rows: int
    digest: str
    keys: list[str]
    added: str
    undone: bool = False
    redacted: bool = False


@dataclass
class State:
    """The model after some requests.

    Attributes:
        name: of its run folder.
        requests: processed with it, at once.
        parent: the state that it was made from; None: the first model.
        settings: objective and the rest of the recipe.
        excluded: requests whose rows were not in its retain set.
        begun: when.
        finished: the body of its record `processed`; None while it is under way.
        accepted: whether a regression in it was accepted.
        superseded: whether an `undo` took it back.
        pruned: whether its weights are deleted.
    """

    name: str
    requests: tuple[str, ...]
    parent: str | None
    settings: dict[str, Any]
    excluded: tuple[str, ...]
    begun: str
    finished: dict[str, Any] | None = None
    accepted: bool = False
    superseded: bool = False
    pruned: bool = False

    @property
    def came_back(self) -> list[str]:
        """Requests of which too much is known again."""
        return [name for name, found in (self.finished or {}).get("again", {}).items() if found["regression"]]


@dataclass
class Plan:
    """Requests that an `undo` made it necessary to process again, at once, and how."""

    requests: tuple[str, ...]
    settings: dict[str, Any]


@dataclass
class Timeline:
    """Where a ledger stands.

    Attributes:
        init: the body of the first record.
        head: the digest of the last one.
        requests: by id, in the order in which they were added.
        states: all there ever were, by name.
        current: those that lead to the model as it is, the first one first.
        under_way: a state that was begun and is not finished.
        stopped: a finished state in which something came back, and nobody has decided.
        planned: to be processed again, before anything new.
        retain: rows and salted digest of the retain rows' file.
    """

    init: dict[str, Any]
    head: str
    requests: dict[str, Request] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    current: list[State] = field(default_factory=list)
    under_way: State | None = None
    stopped: State | None = None
    planned: list[Plan] = field(default_factory=list)
    retain: dict[str, Any] = field(default_factory=dict)

    @property
    def last(self) -> str | None:
        """The name of the last good state; None: the first model."""
        return self.current[-1].name if self.current else None

    @property
    def processed(self) -> list[str]:
        """Requests that the model as it is has forgotten, in the order in which they were processed."""
        return [name for state in self.current for name in state.requests]

    @property
    def pending(self) -> list[Request]:
        """Requests never processed, or whose attempt is not finished; those that are planned aside."""
        taken = {*self.processed, *(name for plan in self.planned for name in plan.requests)}
        return [request for request in self.requests.values() if not request.undone and request.id not in taken]

    def next_requests(self, batch: int) -> tuple[str, ...]:
        """What is to be processed next, at once."""
        return self.planned[0].requests if self.planned else tuple(request.id for request in self.pending[:batch])

    def state_of(self, request: str) -> State | None:
        """The current state that processed a request."""
        return next((state for state in self.current if request in state.requests), None)

    def baseline(self, request: str) -> State:
        """The state that a processed request is compared with: its own, or the last one in which someone accepted what
        had come back."""
        return [s for s in self.current if request in s.requests or (s.accepted and request in s.came_back)][-1]


def replay(records: Iterable[Record]) -> Timeline:
    """Read off the records where a ledger stands."""
    first, *rest = records
    timeline = Timeline(first.body, first.digest, retain=first.body["retain"])
    for record in rest:
        _APPLY[record.kind](timeline, record)
        timeline.head = record.digest
    return timeline


def _added(timeline: Timeline, record: Record) -> None:
    timeline.requests[record.body["id"]] = Request(**record.body, added=record.time)


def _begun(timeline: Timeline, record: Record) -> None:
    body = {**record.body, "requests": tuple(record.body["requests"]), "excluded": tuple(record.body["excluded"])}
    timeline.under_way, timeline.stopped = State(**body, begun=record.time), None
    timeline.states[timeline.under_way.name] = timeline.under_way


def _processed(timeline: Timeline, record: Record) -> None:
    state = timeline.states[record.body["name"]]
    state.finished, timeline.under_way = record.body, None
    if state.came_back:
        timeline.stopped = state
    else:
        _take(timeline, state)


def _accepted(timeline: Timeline, record: Record) -> None:
    state, timeline.stopped = timeline.states[record.body["name"]], None
    state.accepted = True
    _take(timeline, state)


def _take(timeline: Timeline, state: State) -> None:
    timeline.current.append(state)
    if timeline.planned and timeline.planned[0].requests == state.requests:
        timeline.planned.pop(0)


def _undone(timeline: Timeline, record: Record) -> None:
    """From the state that processed the request on, everything is to be made again, without it."""
    name = record.body["id"]
    timeline.requests[name].undone = True
    own = timeline.state_of(name)
    first = len(timeline.current) if own is None else timeline.current.index(own)
    again = timeline.current[first:]
    timeline.current = timeline.current[:first]
    for state in again:
        state.superseded = True
    plans = [*(Plan(state.requests, state.settings) for state in again), *timeline.planned]
    less = [Plan(tuple(r for r in plan.requests if r != name), plan.settings) for plan in plans]
    timeline.planned = [plan for plan in less if plan.requests]
    for attempt in (timeline.under_way, timeline.stopped):
        if attempt and (again or name in attempt.requests):
            timeline.under_way = timeline.stopped = None


def _redacted(timeline: Timeline, record: Record) -> None:
    timeline.retain = record.body["retain"]
    for name in record.body["requests"]:
        timeline.requests[name].redacted = True


def _pruned(timeline: Timeline, record: Record) -> None:
    for name in record.body["states"]:
        timeline.states[name].pruned = True


_APPLY = {
    "added": _added,
    "begun": _begun,
    "processed": _processed,
    "accepted": _accepted,
    "undone": _undone,
    "redacted": _redacted,
    "pruned": _pruned,
}
