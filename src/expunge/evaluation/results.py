"""The result of an evaluation: results.json and the table of examples beside it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from expunge.errors import InputError
from expunge.evaluation.aggregate import Measurement, Summary
from expunge.evaluation.table import read_table, write_table
from expunge.files import write_json

SCHEMA = 1
TABLE_SUFFIX = ".examples.parquet"


@dataclass(frozen=True)
class Results:
    """What was measured on one model.

    Attributes:
        suite: name of the suite.
        model: {"path", "fingerprint"}.
        data: {"spec", "forget_split", "sets": {name: {"rows", "fingerprint"}}, "left_out": {name: why}}.
        recipe: settings of the evaluation and their fingerprint.
        code: version, and digest of the evaluation's source.
        metrics: `<set>/<metric>` -> measurement.
        summary: numbers over sets.
        table: the examples.
        companions: the same for the retain and the target model, under "retain" and "target", where they were given.
    """

    suite: str
    model: Mapping[str, str]
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    code: Mapping[str, str]
    metrics: Mapping[str, Measurement]
    summary: Summary
    table: pa.Table
    companions: dict[str, "Results"] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of results.json. Not measured is null with a reason; NaN does not occur."""
        left_out = {name: f"set left out: {why}" for name, why in self.data["left_out"].items()}
        return {
            "schema": SCHEMA,
            "suite": self.suite,
            "model": dict(self.model),
            "data": dict(self.data),
            "recipe": dict(self.recipe),
            "code": dict(self.code),
            "metrics": {key: _plain(measurement) for key, measurement in self.metrics.items()},
            "summary": self.summary.values,
            "summary_ci95": self.summary.ci95,
            "summary_parts": self.summary.parts,
            "reasons": left_out
            | {key: m.reason for key, m in self.metrics.items() if m.reason is not None}
            | self.summary.reasons,
        }

    def save(self, path: str | Path) -> None:
        """Write `path`, the table beside it, and the companions as `<name>.retain.json`, `<name>.target.json`.

        The JSON is written last: where it is, the rest is whole.
        """
        path = Path(path)
        for role, companion in self.companions.items():
            companion.save(companion_path(path, role))
        write_table(self.table, table_path(path))
        write_json(path, self.to_json())
        shutil.rmtree(parts_path(path), ignore_errors=True)


def table_path(path: str | Path) -> Path:
    """Where the table of a results file lies: `results.json` -> `results.examples.parquet`."""
    return Path(path).with_suffix(TABLE_SUFFIX)


def parts_path(path: str | Path) -> Path:
    """Where an unfinished evaluation keeps what it has: `results.json` -> `results.parts`."""
    return Path(path).with_suffix(".parts")


def companion_path(path: str | Path, role: str) -> Path:
    """Where the retain or target model's results lie: `results.json` -> `results.retain.json`."""
    return Path(path).with_suffix(f".{role}.json")


def load_results(path: str | Path) -> Results:
    """Read results that `Results.save` wrote, companions left aside.

    Raises:
        InputError: missing, cut short, another schema, or without its table.
    """
    path = Path(path)
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Write it with `expunge eval --out`.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not whole JSON ({error}). Write it again with `expunge eval --out`.") from None
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        raise InputError(f"{path}: not results of `expunge eval` with schema {SCHEMA}.")
    try:
        return Results(
            suite=raw["suite"],
            model=raw["model"],
            data=raw["data"],
            recipe=raw["recipe"],
            code=raw["code"],
            metrics={key: Measurement(**m) for key, m in raw["metrics"].items()},
            summary=Summary(raw["summary"], raw["summary_ci95"], raw["summary_parts"], raw["reasons"]),
            table=read_table(table_path(path)),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: lacks {error}. Write it again with `expunge eval --out`.") from None


def _plain(measurement: Measurement) -> dict[str, Any]:
    plain = {
        "value": measurement.value,
        "ci95": measurement.ci95,
        "n": measurement.n,
        "better": measurement.better,
    }
    return plain | ({} if measurement.reason is None else {"reason": measurement.reason})
