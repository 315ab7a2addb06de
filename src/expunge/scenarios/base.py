"""What a scenario is, and the table it writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from expunge.files import write_json

TABLE, REPORT = "table.json", "report.html"


@dataclass(frozen=True)
class TableRow:
    """A number of a scenario's table.

    Attributes:
        method: objective, and what else tells it from the others.
        metric: `<set>/<metric>`; `@3` after it: after the third task.
        value: the number.
        ci95: its 95 % interval, where there is one.
        n: rows that it is from.
        seed: of world, model and training.
    """

    method: str
    metric: str
    value: float
    ci95: tuple[float, float] | None
    n: int
    seed: int


@dataclass(frozen=True)
class Sources:
    """What the full form is given, each a path or a Hub id; a scenario says which of them it takes.

    Attributes:
        model: the target model.
        data: a folder or Hub data set with every set that it needs, in its published layout.
        forget: SPEC of what is to be forgotten.
        retain: SPEC of what must stay.
    """

    model: str
    data: str | None = None
    forget: str | None = None
    retain: str | None = None


Say = Callable[[str], None]
"""Is told about each step."""
Small = Callable[[Path, int, bool, Say], list[TableRow]]
"""Runs the small form: a folder, a seed, whether to be quiet, and who is told about each step."""
Full = Callable[[Sources, Path, int, bool, Say], list[TableRow]]
"""Runs the full form: what it is given, and the same."""


@dataclass(frozen=True)
class Scenario:
    """A scenario of a paper.

    Attributes:
        name: on the command line.
        summary: what is asked, in a line.
        paper: its arXiv number.
        differs: what is not as in the paper, in the small form.
        labels: the page's columns, by metric.
        drawn: those of them that are drawn: over the tasks where there are numbers after each, else a bar per method.
        small: the small form.
        full: the full form, on a given model and rows; None where there is none.
        takes: options of the full form, as they are typed.
    """

    name: str
    summary: str
    paper: str
    differs: tuple[str, ...]
    labels: Mapping[str, str]
    drawn: tuple[str, ...]
    small: Small
    full: Full | None = None
    takes: str = ""


def write_table(out: Path, scenario: str, rows: Sequence[TableRow]) -> None:
    """Write table.json."""
    write_json(out / TABLE, {"scenario": scenario, "rows": [asdict(row) for row in rows]})
