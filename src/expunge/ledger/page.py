"""The ledger as a reader sees it: one HTML page, and a table for the terminal. Read off the records alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.table import Table
from rich.text import Text

import expunge
from expunge.files import whole_file
from expunge.ledger.store import Record, Store
from expunge.ledger.timeline import Request, State, Timeline, replay
from expunge.metrics.bootstrap import wilson
from expunge.report.page import source, templates
from expunge.report.redaction import hiding
from expunge.report.words import interval, number

BEFORE = "before"


@dataclass(frozen=True)
class Cell:
    """What a state knew of a request; `kind` is a colour of the page: yes (nothing), traces, no (half or more)."""

    kind: str
    known: int
    rows: int
    share: str
    interval: str
    by_chance: str
    own: bool
    regression: bool


def write_report(folder: str | Path, out: str | Path, redact: bool = False) -> Path:
    """Write the page.

    Args:
        folder: of the ledger.
        out: the page.
        redact: hide ids, notes and places.

    Raises:
        InputError: there is no ledger, or a record is not what was written.
    """
    records = Store(folder).records()
    html = render(records, Path(folder).resolve().name, redact)
    with whole_file(out) as part:
        part.write_text(html, encoding="utf-8", errors="replace")
    return Path(out)


def render(records: Sequence[Record], title: str, redact: bool = False) -> str:
    """The page as HTML."""
    timeline, environment = replay(records), templates()
    hide = hiding() if redact else str
    names = {name: f"request {i}" if redact else name for i, name in enumerate(timeline.requests, 1)}
    states = {name: f"state {i}" if redact else name for i, name in enumerate(timeline.states, 1)}
    return environment.get_template("ledger.html.j2").render(
        style=Markup(source(environment, "page.css")),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=expunge.__version__,
        redacted=redact,
        title=hide(title),
        timeline=timeline,
        stopped=[names[name] for name in timeline.stopped.requests] if timeline.stopped else [],
        back=[names[name] for name in timeline.stopped.came_back] if timeline.stopped else [],
        model={**timeline.init["model"], "path": hide(timeline.init["model"]["path"])},
        requests=[(names[r.id], r, standing(timeline, r), hide(r.note)) for r in timeline.requests.values()],
        columns=[[names[name] for name in state.requests] for state in columns(timeline)],
        matrix=[(names[name], cells) for name, cells in matrix(timeline).items()],
        kept=kept(timeline),
        states=[
            (
                states[s.name],
                [names[r] for r in s.requests],
                states.get(s.parent or "", "first model"),
                s,
                ending(timeline, s),
            )
            for s in timeline.states.values()
        ],
        objectives={
            s.name: hide(objective(s)) if ".py" in objective(s) else objective(s) for s in timeline.states.values()
        },
        records=[(r, told(r, names, states, hide)) for r in records],
    )


def columns(timeline: Timeline) -> list[State]:
    """The states of the matrix: those that lead to the model as it is, and one that was stopped."""
    return [*timeline.current, *([timeline.stopped] if timeline.stopped else [])]


def matrix(timeline: Timeline) -> dict[str, list[Cell | None]]:
    """By request: what is known before it was processed, and of each state since; None where it was not measured."""
    shown = columns(timeline)
    found: dict[str, list[Cell | None]] = {}
    for request in (name for state in shown for name in state.requests):
        first = next(i for i, state in enumerate(shown) if request in state.requests)
        cells: list[Cell | None] = [None] * (len(shown) + 1)
        for i, state in enumerate(shown[first:], first):
            if measured := (state.finished or {})["known"].get(request):
                cells[i + 1] = cell(measured, i == first, request in state.came_back)
        cells[first] = cell((shown[first].finished or {})["known_before"][request], False, False)
        found[request] = cells
    return found


def cell(measured: dict[str, Any], own: bool, regression: bool) -> Cell:
    """A cell of the matrix."""
    known, rows = measured["known"], measured["rows"]
    kind = "yes" if not known else "no" if 2 * known >= rows else "traces"
    ends = interval(wilson(known / rows, rows), True)
    by_chance = number(measured["by_chance"]) if measured["by_chance"] else ""
    return Cell(kind, known, rows, number(known / rows, True), ends, by_chance, own, regression)


def kept(timeline: Timeline) -> list[tuple[str, list[str]]]:
    """By metric of the retain rows: its mean and interval of the first model, and of each state."""
    shown = columns(timeline)
    if not shown:
        return []
    ends = [(state.finished or {})["retain"] for state in shown]
    rows = [ends[0][BEFORE], *(end["after"] for end in ends)]
    labels = {"probability": "Probability of the right answer", "rougeL_recall": "ROUGE-L recall of the greedy answer"}
    return [(label, [_mean(row.get(metric)) for row in rows]) for metric, label in labels.items()]


def _mean(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "–"
    ends = measured["ci95"]
    return f"{number(measured['value'])} {interval((ends[0], ends[1]) if ends else None)}"


def standing(timeline: Timeline, request: Request) -> str:
    """Where a request stands, in a word or two."""
    erased = ", text erased" if request.redacted else ""
    if request.undone:
        return f"undone{erased}"
    if timeline.state_of(request.id):
        return f"processed{erased}"
    if timeline.stopped and request.id in timeline.stopped.requests:
        return "stopped by a regression"
    return "under way" if timeline.under_way and request.id in timeline.under_way.requests else "pending"


def ending(timeline: Timeline, state: State) -> str:
    """What became of a state."""
    deleted = ", weights deleted" if state.pruned else ""
    if state.superseded:
        return f"taken back by an undo{deleted}"
    if state in timeline.current:
        return f"{'a regression, accepted' if state.accepted else 'good'}{deleted}"
    if state.finished is None:
        return "under way" if state is timeline.under_way else "given up"
    return f"regression{deleted}"


def objective(state: State) -> str:
    """The name of a state's objective."""
    chosen = state.settings["objective"]
    return chosen if isinstance(chosen, str) else chosen["name"]


def told(record: Record, names: dict[str, str], states: dict[str, str], hide: Callable[[str], str]) -> str:
    """A record in words."""
    body: dict[str, Any] = record.body
    listed = ", ".join(names[one] for one in body.get("requests", ()))
    match record.kind:
        case "init":
            return f"first model {body['model']['fingerprint']}, {body['retain']['rows']} rows to keep"
        case "added":
            return f"{names[body['id']]}: {body['rows']} rows"
        case "begun":
            return f"{listed} as {states[body['name']]}"
        case "processed":
            return f"{states[body['name']]}: model {body['model']['fingerprint']}"
        case "accepted":
            return f"the regression in {states[body['name']]}"
        case "undone":
            return names[body["id"]]
        case "pruned":
            return f"weights of {', '.join(states[name] for name in body['states'])} deleted"
        case _:
            return f"texts of {listed} kept as digests only"


def status_table(timeline: Timeline) -> Table:
    """The requests, for the terminal."""
    table = Table("request", "rows", "stands", "known before", "right after", "now", "note")
    cells = matrix(timeline)
    for request in timeline.requests.values():
        measured = [one for one in cells.get(request.id, []) if one]
        before, after, *_ = [*(f"{one.known}/{one.rows}" for one in measured), "", ""]
        now = f"{measured[-1].known}/{measured[-1].rows}" if measured else ""
        note = Text(request.note)  # not as markup
        table.add_row(request.id, str(request.rows), standing(timeline, request), before, after, now, note)
    return table
