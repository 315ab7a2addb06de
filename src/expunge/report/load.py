"""Reading what a report is about: run folders and results files into plain values. Nothing is judged here."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import FiniteFloat, TypeAdapter, ValidationError

from expunge.errors import InputError

SCHEMA = 1
Better = Literal["higher", "lower", "closer_to_reference"]
T = TypeVar("T")


@dataclass(frozen=True)
class Number:
    """A measured value with the rows it rests on, its 95 % interval and the direction that is good."""

    value: float
    better: Better
    n: int
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Measurement:
    """One entry of results.json: a number, or the reason why there is none."""

    value: FiniteFloat | None
    better: Better
    n: int = 0
    ci95: tuple[FiniteFloat, FiniteFloat] | None = None
    reason: str | None = None

    @property
    def number(self) -> Number | None:
        """The number, if it was measured."""
        return None if self.value is None else Number(self.value, self.better, self.n, self.ci95)


@dataclass(frozen=True)
class Model:
    """Where the evaluated model was read from, and the fingerprint of its weights."""

    path: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class RowSet:
    """One evaluated set: its size and the fingerprint of its rows."""

    rows: int
    fingerprint: str = ""


@dataclass(frozen=True)
class Data:
    """The evaluated data: its spec, the sets read and the sets left out with the reason."""

    spec: str = ""
    forget_split: str | None = None
    sets: Mapping[str, RowSet] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The content of one results.json (schema 1)."""

    suite: str
    model: Model
    data: Data
    metrics: Mapping[str, Measurement]
    summary: Mapping[str, FiniteFloat | None] = field(default_factory=dict)
    summary_ci95: Mapping[str, tuple[FiniteFloat, FiniteFloat] | None] = field(default_factory=dict)
    summary_parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = field(default_factory=dict)
    code: Mapping[str, Any] | None = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """One row of the examples table: the question, the right answer, what the model said, and its scores."""

    set: str
    index: int
    question: str
    answer: str
    generation: str | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class Step:
    """One logged training step; `seconds` since the start, `tokens` so far."""

    step: int
    loss: float | None
    terms: Mapping[str, float | None] = field(default_factory=dict)
    epoch: float | None = None
    grad_norm: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class RunResult:
    """One evaluated model; `steps`, `recipe` and `environment` are empty where it was not made by `expunge unlearn`."""

    name: str
    path: Path
    results: Results
    examples: tuple[Example, ...] = ()
    steps: tuple[Step, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)  # file -> why the report cannot show it

    def metric(self, key: str) -> Number | None:
        """The number called `<set>/<metric>`, or None where results.json does not have it or it is null."""
        found = self.results.metrics.get(key)
        return found.number if found else None

    def summary(self, name: str) -> Number | None:
        """A number over sets; `n` counts the rows that went into it."""
        value = self.results.summary.get(name)
        if value is None:
            return None
        ci95 = self.results.summary_ci95.get(name)
        if name == "privleak":
            attack = self.metric("forget/mia_min_k")
            return Number(value, "closer_to_reference", attack.n if attack else 0, ci95)
        if name == "flops":
            return Number(value, "lower", int(self.results.summary["flops_tokens"] or 0), None)
        sets = {part.split("/")[0] for part in self.results.summary_parts.get(name, ())}
        rows = sum(self.results.data.sets[s].rows for s in sets if s in self.results.data.sets)
        return Number(value, "higher", int(self.results.summary.get(f"{name}_n") or rows), ci95)


@dataclass(frozen=True)
class Comparison:
    """What one page shows: unlearned models measured on the same rows, with target and retain model where known."""

    runs: tuple[RunResult, ...]
    target: RunResult | None
    retain: RunResult | None

    @property
    def models(self) -> tuple[RunResult, ...]:
        """Target first, retain model last."""
        return tuple(model for model in (self.target, *self.runs, self.retain) if model is not None)


def load_comparison(runs: Sequence[Path], target: Path | None = None, retain: Path | None = None) -> Comparison:
    """Read runs and the models they are compared with.

    Args:
        runs: run folders or results files.
        target: results of the model that had to forget; default: `results.target.json` beside a run's results.
        retain: results of the model that never saw the forget set; default: `results.retain.json` likewise.

    Raises:
        InputError: a file is missing, cut short, of another schema, or was measured on other rows or another suite.
    """
    if not runs:
        raise InputError("No run given. Name at least one run folder or results.json.")
    files = [results_file(Path(run)) for run in runs]
    loaded = _distinct([load_run(file) for file in files])
    comparison = Comparison(
        runs=tuple(loaded), target=_companion(files, target, "target"), retain=_companion(files, retain, "retain")
    )
    for other in comparison.models[1:]:
        _check_comparable(comparison.models[0], other)
    return comparison


def results_file(path: Path) -> Path:
    """The results file of a run folder, or the file itself."""
    if path.is_dir():
        file = path / "results.json"
        if not file.is_file():
            raise InputError(f"{path} has no results.json. Measure the model first: expunge eval --out {file}")
        return file
    if not path.is_file():
        raise InputError(f"{path} does not exist. Give a run folder or the results.json that `expunge eval` wrote.")
    return path


def load_run(file: Path, name: str | None = None) -> RunResult:
    """Read one results file and what lies beside it."""
    results = _results(file)
    folder, missing = file.parent, {}

    def beside(path: Path, read: Callable[[Path], T], empty: T, why: str) -> T:
        if path.is_file():
            return read(path)
        missing[path.name] = why
        return empty

    examples = beside(file.with_suffix(".examples.parquet"), _examples, (), "no answers of this model can be shown")
    if name is not None:  # target and retain model: their own training is not what the page is about
        return RunResult(name=name, path=file, results=results, examples=examples, missing=missing)
    recipe = beside(folder / "recipe.yaml", _recipe, {}, "objective and settings are unknown")
    return RunResult(
        name=objective_name(recipe) or (folder.resolve().name if file.name == "results.json" else file.stem),
        path=file,
        results=results,
        examples=examples,
        recipe=recipe,
        steps=beside(folder / "train_log.jsonl", _steps, (), "no training curves can be drawn"),
        environment=beside(folder / "environment.json", _mapping, {}, "versions and platform are unknown"),
        missing=missing,
    )


def objective_name(recipe: Mapping[str, Any]) -> str | None:
    """The objective a recipe names, for example "NPO+GD"."""
    objective = recipe.get("objective")
    return objective.get("name") if isinstance(objective, Mapping) else objective


def _companion(files: Sequence[Path], given: Path | None, role: Literal["target", "retain"]) -> RunResult | None:
    """The explicit results, or those beside the runs; several must be of one model."""
    name = {"target": "target", "retain": "retain model"}[role]
    if given is not None:
        return load_run(results_file(Path(given)), name)
    paths = [path for file in files if (path := file.with_suffix(f".{role}.json")).is_file()]
    found = [load_run(path, name) for path in paths]
    for other in found[1:]:
        if other.results.model.fingerprint != found[0].results.model.fingerprint:
            raise InputError(
                f"The runs were measured beside different {role} models: {found[0].path} and {other.path} have other "
                f"fingerprints. Report them separately, or name one with --{role}."
            )
    return found[0] if found else None


def _check_comparable(first: RunResult, other: RunResult) -> None:
    if first.results.suite != other.results.suite:
        raise InputError(
            f"{other.path} was measured with suite {other.results.suite!r}, {first.path} with "
            f"{first.results.suite!r}: their numbers mean different things. Report them separately."
        )
    for name, rows in other.results.data.sets.items():
        known = first.results.data.sets.get(name)
        if known is not None and known.fingerprint != rows.fingerprint:
            raise InputError(
                f"{other.path} and {first.path} were measured on different rows of the set {name!r} (fingerprints "
                f"{rows.fingerprint} and {known.fingerprint}). Evaluate both on the same --data, or report separately."
            )


def _distinct(runs: list[RunResult]) -> list[RunResult]:
    """Runs of one objective are told apart by their folder, and by number where that is equal too."""
    taken = ("target", "retain model")
    for spell in (lambda run, i: f"{run.name} ({run.path.parent.resolve().name})", lambda run, i: f"{run.name} #{i}"):
        names = [*taken, *(run.name for run in runs)]
        runs = [replace(run, name=spell(run, i)) if names.count(run.name) > 1 else run for i, run in enumerate(runs, 1)]
    return runs


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is not whole JSON ({error.msg} at line {error.lineno}, column {error.colno}). The file was cut "
            "short or edited: write it again with `expunge eval` or `expunge unlearn`."
        ) from None


def _mapping(path: Path) -> Mapping[str, Any]:
    value = _json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__} where an object of named values is expected.")
    return value


def _results(path: Path) -> Results:
    raw = _mapping(path)
    if raw.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {raw.get('schema')!r}; this version reads schema {SCHEMA}. Write the file again with "
            "this version's `expunge eval`."
        )
    try:
        results = TypeAdapter(Results).validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: key {where!r}: {first['msg']}. Write it again with `expunge eval`.") from None
    for key, measured in results.metrics.items():
        if "/" not in key:
            raise InputError(f"{path}: metric {key!r} is not named <set>/<metric>.")
        if measured.value is None and not measured.reason:
            raise InputError(f"{path}: metric {key!r} is null without a reason.")
    return results


def _examples(path: Path) -> tuple[Example, ...]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}. Run `expunge eval` again.") from None
    texts = ("set", "index", "question", "answer", "generation")
    if rows and (absent := [column for column in texts if column not in rows[0]]):
        raise InputError(f"{path} lacks the column {absent[0]!r}. Run `expunge eval` again.")
    return tuple(
        Example(
            **{column: row[column] for column in texts},
            values={k: v for k, v in row.items() if k not in texts and isinstance(v, int | float)},
        )
        for row in rows
    )


def _steps(path: Path) -> tuple[Step, ...]:
    adapter, steps = TypeAdapter(Step), []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            steps.append(adapter.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise InputError(
                f"{path}, line {number}, {where}: {first['msg']}. Delete a last line that was cut short, or resume the "
                "run with --resume."
            ) from None
    return tuple(steps)


def _recipe(path: Path) -> Mapping[str, Any]:
    try:
        value = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is empty or not a mapping; it should be the recipe that `expunge unlearn` wrote.")
    return value
