"""What a scenario is, and the table it writes."""

from collections.abc import Callable, Sequence
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
class Scenario:
    """A scenario of a paper.

    Attributes:
        name: on the command line.
        summary: what is asked, in a line.
        paper: its arXiv number.
        differs: what is not as in the paper.
        small: runs the small form: a folder, a seed, whether to be quiet, and who is told about each step.
    """

    name: str
    summary: str
    paper: str
    differs: tuple[str, ...]
    small: Callable[[Path, int, bool, Callable[[str], None]], list[TableRow]]


def write_table(out: Path, scenario: str, rows: Sequence[TableRow]) -> None:
    """Write table.json."""
    write_json(out / TABLE, {"scenario": scenario, "rows": [asdict(row) for row in rows]})
