"""The table of a sweep: a line for each method, with mean, standard deviation and n over its seeds; and each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from expunge.files import whole_file
from expunge.metrics.base import Better
from expunge.metrics.summaries import SUMMARIES
from expunge.report.words import printable, wording
from expunge.sweep.plan import Run
from expunge.sweep.study import Outcome

UTILITIES = ("model_utility", "model_utility_partial", "retain_utility", "retain_utility_partial")
EFFICACIES = ("forget_efficacy", "forget_efficacy_partial")
FORGET_METRICS = ("forget/fact_accuracy", "forget/rougeL_recall", "forget/probability")
"""What stands for forgetting where a suite has no forget efficacy; lower is better."""
QUALITY = "forget_quality"


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (None for one) over the seeds that have a value."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Line:
    """A line of the table: a method, or the target or the retain model.

    Attributes:
        name: the method's.
        role: "unlearned", "target" or "retain".
        settings: what varies in the sweep, by dotted key.
        runs: how many there are.
        numbers: by name, over the runs that were measured.
        waiting: how many are not ended yet.
        diverged: how many stopped, as the loss was no longer finite.
        failed: how many could not be done.
        reason: why, of the first that is not done.
    """

    name: str
    role: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    runs: int = 1
    numbers: Mapping[str, Spread] = field(default_factory=dict)
    waiting: int = 0
    diverged: int = 0
    failed: int = 0
    reason: str = ""


def spread(values: Sequence[float | None]) -> Spread | None:
    """Over the values that are there; None where none is."""
    known = [value for value in values if value is not None]
    return Spread(fmean(known), stdev(known) if len(known) > 1 else None, len(known)) if known else None


def lines(
    models: Mapping[str, Mapping[str, float | None]], runs: Sequence[Run], outcomes: Mapping[str, Outcome | None]
) -> list[Line]:
    """Target and retain model, then the methods in the order of the file.

    Args:
        models: the numbers of "target" and "retain", by role.
        runs: of the sweep.
        outcomes: by name of the run.
    """
    found = [Line(role, role, numbers=_spreads([numbers])) for role, numbers in models.items()]
    for method in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == method]
        ended = [outcome for run in mine if (outcome := outcomes.get(run.name)) is not None]
        found.append(
            Line(
                method,
                "unlearned",
                mine[0].settings,
                len(mine),
                _spreads([outcome.numbers for outcome in ended if outcome.status == "done"]),
                len(mine) - len(ended),
                sum(outcome.status == "diverged" for outcome in ended),
                sum(outcome.status == "failed" for outcome in ended),
                next((outcome.reason for outcome in ended if outcome.reason), ""),
            )
        )
    return found


def _spreads(numbers: Sequence[Mapping[str, float | None]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for one in numbers for name in one)
    rows = {f"{name}_n" for name in names}  # counts of rows, under the name that counts of seeds have here
    names = [name for name in names if name not in rows]
    found = {name: spread([one.get(name) for one in numbers]) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def write_tables(
    folder: Path, table: Sequence[Line], runs: Sequence[Run], outcomes: Mapping[str, Outcome | None]
) -> None:
    """Write sweep.csv and sweep.parquet, a line for each method, and sweep.runs.csv and .parquet, one for each run."""
    numbers = list(dict.fromkeys(name for line in table for name in line.numbers))
    settings = list(dict.fromkeys(name for run in runs for name in run.settings))
    methods = []
    for line in table:
        plain = {"name": line.name, "role": line.role} | {name: _plain(line.settings.get(name)) for name in settings}
        plain |= {name: getattr(line, name) for name in ("runs", "waiting", "diverged", "failed", "reason")}
        for name in numbers:
            one = line.numbers.get(name)
            plain |= {name: one and one.mean, f"{name}_std": one and one.std, f"{name}_n": one.n if one else 0}
        methods.append(plain)
    _write(folder / "sweep", methods)
    every = list(dict.fromkeys(name for outcome in outcomes.values() if outcome for name in outcome.numbers))
    singles = []
    for run in runs:
        outcome = outcomes.get(run.name)
        plain = {"run": run.name, "name": run.method, "objective": run.recipe.objective_name, "seed": run.seed}
        plain |= {name: _plain(run.settings.get(name)) for name in settings}
        plain |= {"status": outcome.status if outcome else "waiting", "reason": outcome.reason if outcome else ""}
        plain |= {"seconds": outcome and outcome.seconds}
        singles.append(plain | {name: outcome.numbers.get(name) if outcome else None for name in every})
    _write(folder / "sweep.runs", singles)


def _plain(value: Any) -> str | None:
    return None if value is None else str(value)


def _write(name: Path, rows: list[dict[str, Any]]) -> None:
    """One table as CSV and Parquet; numbers are floats also where none is known yet."""
    whole = ("runs", "waiting", "diverged", "failed", "seed")
    columns: dict[str, pa.Array] = {}
    for column in rows[0]:
        values = [row[column] for row in rows]
        texts = any(isinstance(value, str) for value in values)
        kind = pa.string() if texts else pa.int64() if column in whole or column.endswith("_n") else pa.float64()
        columns[column] = pa.array(values, kind)
    table = pa.table(columns)
    with whole_file(f"{name}.csv") as part:
        pyarrow.csv.write_csv(table, part)
    with whole_file(f"{name}.parquet") as part:
        pyarrow.parquet.write_table(table, part)


def leading(table: Sequence[Line]) -> tuple[str | None, str | None]:
    """The numbers for utility and for forgetting that every measured method has; None where there is none."""
    measured = [line for line in table if line.role == "unlearned" and line.numbers]

    def first(names: Sequence[str]) -> str | None:
        return next((name for name in names if measured and all(name in line.numbers for line in measured)), None)

    return first(UTILITIES), first((*EFFICACIES, *FORGET_METRICS))


def better(name: str) -> Better:
    """Which way a number is better."""
    return SUMMARIES[name].better if name in SUMMARIES else "lower"


def label(name: str) -> str:
    """The words for a number: "Model utility", "Forget set: fact accuracy"."""
    words = wording(name.partition("/")[2] or name)
    return f"Forget set: {words.in_sentence}" if "/" in name else words.label


def terminal_table(table: Sequence[Line]) -> Any:
    """The table as it is printed: the leading numbers, forget quality, and the strongest of each attack."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    known = dict.fromkeys(name for line in table for name in line.numbers)
    shown = [name for name in (*leading(table), QUALITY if QUALITY in known else None) if name is not None]
    shown += [name for name in known if "/strongest/" in name]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    drawn.add_column("", overflow="fold", min_width=12)
    drawn.add_column("runs", justify="right")
    for name in shown:
        drawn.add_column(Text(_head(name)), justify="right", max_width=20)
    for i, line in enumerate(table):
        last = line.role != "unlearned" and i + 1 < len(table) and table[i + 1].role == "unlearned"
        done = line.runs - line.waiting - line.diverged - line.failed
        counted = "" if line.role != "unlearned" else f"{done}/{line.runs}" if done < line.runs else str(done)
        numbers = [_number(line.numbers.get(name), line.role == "unlearned") for name in shown]
        drawn.add_row(Text(printable(line.name)), counted, *map(Text, numbers), end_section=last)
    return drawn


def _head(name: str) -> str:
    if "/strongest/" in name:
        attack, _, metric = name.split("/")
        return f"after {attack}: {wording(metric).in_sentence}"
    arrow = {"higher": "↑", "lower": "↓"}.get(better(name), "")
    return f"{label(name)} {arrow}"


def _number(one: Spread | None, with_n: bool) -> str:
    if one is None:
        return "–"
    form = ".1e" if 0 < abs(one.mean) < 0.001 else ".3f"  # p-values
    mean = f"{one.mean:{form}}"
    return mean if not with_n else f"{mean} (n=1)" if one.std is None else f"{mean} ± {one.std:{form}} (n={one.n})"
