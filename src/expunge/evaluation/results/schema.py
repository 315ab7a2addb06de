"""The one schema of results: what `expunge eval` writes, and what reports and comparisons read.

`results.json` has the numbers; the table of examples, one line per row of each set, lies beside it as Parquet.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from expunge.errors import InputError
from expunge.evaluation.results.seal import check_seal, check_table, column_digests, sealed
from expunge.evaluation.results.table import read_table, write_table
from expunge.files import write_json
from expunge.metrics.base import Better, Kind
from expunge.runs import companion_path, parts_path, table_path

SCHEMA = 1
RELEARNED = "forget/relearned"
"""Among the metrics, where it was measured: what comes back of the forget set when others of its rows are learned."""


@dataclass(frozen=True)
class Measurement:
    """One number: the value with its 95 % interval over `n` examples and the good direction, or why there is none."""

    value: FiniteFloat | None
    better: Better
    n: int = 0
    ci95: tuple[FiniteFloat, FiniteFloat] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Summary:
    """Numbers over sets; `ci95` and `parts` by name of the number, `reasons` for each that is null."""

    values: dict[str, FiniteFloat | int | None] = field(default_factory=dict)
    ci95: dict[str, tuple[FiniteFloat, FiniteFloat] | None] = field(default_factory=dict)
    parts: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """Where the evaluated model was read from, and the fingerprints of its weights and of its configuration."""

    path: str = ""
    fingerprint: str = ""
    configuration: str = ""


@dataclass(frozen=True)
class RowSet:
    """One evaluated set: its size, the fingerprint of its rows, and what it is for."""

    rows: int
    fingerprint: str = ""
    kind: Kind | None = None
    label: str | None = None


@dataclass(frozen=True)
class Data:
    """The evaluated data: its spec, the sets read, and the sets left out with the reason.

    `salt` tells apart the secrets of machines: fingerprints of rows compare only where it is the same.
    """

    spec: str = ""
    salt: str = ""
    forget_split: str | None = None
    sets: Mapping[str, RowSet] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """What was measured on one model.

    Attributes:
        suite: name of the suite.
        model: which model.
        data: which rows.
        recipe: settings of the evaluation and their fingerprint.
        code: version, and digest of the evaluation's source.
        metrics: `<set>/<metric>` -> measurement.
        summary: numbers over sets.
        table: the examples; None where they were read without, or the table was purged.
        companions: the same for the retain and the target model, under "retain" and "target", where they were given.
    """

    suite: str
    model: Model
    data: Data
    recipe: Mapping[str, Any]
    code: Mapping[str, Any]
    metrics: Mapping[str, Measurement]
    summary: Summary
    table: pa.Table | None = None
    companions: dict[str, "Results"] = field(default_factory=dict)

    @property
    def examples(self) -> pa.Table:
        """The table of examples.

        Raises:
            InputError: it is not there: purged, or never written.
        """
        if self.table is None:
            raise InputError(
                f"The results of {self.model.path} have no table of examples beside them: it was purged or moved. "
                "Measure again with `expunge eval`."
            )
        return self.table

    def kind_of(self, set_name: str) -> Kind:
        """What a set is for; by its name where the file does not say."""
        known = self.data.sets.get(set_name)
        if known is not None and known.kind is not None:
            return known.kind
        return "forget" if set_name.startswith("forget") else "retain"

    def to_json(self) -> dict[str, Any]:
        """The content of results.json. Not measured is null with a reason; NaN does not occur.

        It carries digests of every key and of the table's columns, by which edits are told.
        """
        left_out = {name: f"set left out: {why}" for name, why in self.data.left_out.items()}
        document = {
            "schema": SCHEMA,
            "suite": self.suite,
            "model": vars(self.model),
            "data": {
                **vars(self.data),
                "sets": {name: vars(rows) for name, rows in self.data.sets.items()},
                "left_out": dict(self.data.left_out),
            },
            "recipe": dict(self.recipe),
            "code": dict(self.code),
            "metrics": {key: _plain(measurement) for key, measurement in self.metrics.items()},
            "summary": self.summary.values,
            "summary_ci95": {name: ci95 and list(ci95) for name, ci95 in self.summary.ci95.items()},
            "summary_parts": self.summary.parts,
            "reasons": left_out
            | {key: m.reason for key, m in self.metrics.items() if m.reason is not None}
            | self.summary.reasons,
            "table": None if self.table is None else column_digests(self.table),
        }
        return sealed(document)

    def save(self, path: str | Path) -> None:
        """Write `path`, the table beside it, and the companions as `<name>.retain.json`, `<name>.target.json`.

        The JSON is written last: where it is, the rest is whole.
        """
        path = Path(path)
        for role, companion in self.companions.items():
            companion.save(companion_path(path, role))
        if self.table is not None:
            write_table(self.table, table_path(path))
        write_json(path, self.to_json())
        shutil.rmtree(parts_path(path), ignore_errors=True)


@dataclass(frozen=True)
class _File:
    """What results.json must hold to be read."""

    suite: str
    model: Model
    data: Data
    metrics: Mapping[str, Measurement]
    summary: dict[str, FiniteFloat | int | None] = field(default_factory=dict)
    summary_ci95: dict[str, tuple[FiniteFloat, FiniteFloat] | None] = field(default_factory=dict)
    summary_parts: dict[str, list[str]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, str] | None = None


def load_results(path: str | Path, table: bool = True) -> Results:
    """Read results that `Results.save` wrote, without its companions.

    Args:
        path: the JSON file.
        table: whether to read the table of examples; one that is not there is None.

    Raises:
        InputError: missing, cut short, edited, of another schema, or with a broken or edited table.
    """
    path = Path(path)
    raw = read_object(path)
    if raw.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: has schema {raw.get('schema')!r}; this version reads results of schema {SCHEMA}. Write them "
            "again with `expunge eval --out`."
        )
    check_seal(path, raw)
    try:
        found = TypeAdapter(_File).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: key {where!r}: {first['msg']}. Write it again with `expunge eval`.") from None
    for key, measured in found.metrics.items():
        if "/" not in key:
            raise InputError(f"{path}: metric {key!r} is not named <set>/<metric>.")
        if measured.value is None and not measured.reason:
            raise InputError(f"{path}: metric {key!r} is null without a reason.")
    file, examples = table_path(path), None
    if table and file.is_file():
        examples = read_table(file)
        check_table(file, examples, path, found.table)
    return Results(
        suite=found.suite,
        model=found.model,
        data=found.data,
        recipe=found.recipe,
        code=found.code,
        metrics=found.metrics,
        summary=Summary(found.summary, found.summary_ci95, found.summary_parts, found.reasons),
        table=examples,
    )


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: missing, cut short, or not an object.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Write it with `expunge eval --out`.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not whole JSON ({error}). The file was cut short or edited: write it again with `expunge eval` "
            "or `expunge unlearn`."
        ) from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: holds a {type(raw).__name__} where an object of named values is expected.")
    return raw


def _plain(measurement: Measurement) -> dict[str, Any]:
    plain = {
        "value": measurement.value,
        "ci95": measurement.ci95 and list(measurement.ci95),
        "n": measurement.n,
        "better": measurement.better,
    }
    return plain | ({} if measurement.reason is None else {"reason": measurement.reason})
