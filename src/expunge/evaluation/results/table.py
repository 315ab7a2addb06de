"""The table of examples: one line per row of each set, one column per metric. Everything else is computed from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expunge.data import Row
from expunge.errors import InputError
from expunge.evaluation.suites.columns import question_of, reference_of
from expunge.evaluation.suites.suite import Suite
from expunge.files import whole_file
from expunge.metrics import Example

TEXT_COLUMNS = ("question", "answer", "generation")


def build_table(suite: Suite, sets: Mapping[str, Sequence[Row]], measured: Mapping[str, Sequence[Example]]) -> pa.Table:
    """Compute every metric's value on every example; null where it was not measured."""
    columns: dict[str, list] = {name: [] for name in ("set", "index", *TEXT_COLUMNS)}
    stored = [metric for metric in suite.metrics if metric.relative_to is None]  # the rest follow from two tables
    values: dict[str, list[float | None]] = {metric.name: [] for metric in stored}
    present = [spec for spec in suite.sets if spec.name in sets]
    for spec in present:
        reported = suite.measured_on(spec, {s.kind for s in present})
        for index, (row, example) in enumerate(zip(sets[spec.name], measured[spec.name], strict=True)):
            fields = (spec.name, index, question_of(row, spec), reference_of(row, spec), example.generation)
            for name, value in zip(columns, fields, strict=True):
                columns[name].append(value)
            for metric in stored:
                values[metric.name].append(metric.per_example(example) if metric in reported else None)
    types = {"set": pa.string(), "index": pa.int64()} | dict.fromkeys(TEXT_COLUMNS, pa.string())
    arrays = {name: pa.array(column, types[name]) for name, column in columns.items()}
    return pa.table(arrays | {name: pa.array(column, pa.float64()) for name, column in values.items()})


def column_of(table: pa.Table, set_name: str, column: str) -> np.ndarray:
    """A column's values on one set, in the order of its rows, as float64 [n]; NaN where null."""
    of_set = table.filter(pc.field("set") == set_name)
    if column not in table.column_names:
        return np.full(len(of_set), np.nan)
    return of_set[column].to_numpy(zero_copy_only=False).astype(np.float64)


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write a table as Parquet, whole or not at all."""
    with whole_file(path) as part:
        pq.write_table(table, part)


def read_table(path: str | Path) -> pa.Table:
    """Read a table of examples.

    Raises:
        InputError: missing, cut short, or not such a table.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a whole table of examples ({error}). Run `expunge eval` again.") from None
    if missing := [c for c in ("set", "index", *TEXT_COLUMNS) if c not in table.column_names]:
        raise InputError(f"{path}: lacks the column {missing[0]!r}. Run `expunge eval` again.")
    return table
