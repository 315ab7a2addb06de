"""Reading run folders and results files into a comparison. Nothing is judged here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import yaml
from pydantic import TypeAdapter, ValidationError

from expunge.errors import InputError
from expunge.evaluation.results.comparable import check_comparable
from expunge.evaluation.results.schema import load_results, read_object
from expunge.evaluation.results.seal import check_seal
from expunge.evaluation.results.table import TEXT_COLUMNS
from expunge.files import parse_yaml
from expunge.report.comparison import Comparison, Example, RunResult, Step
from expunge.runs import ENVIRONMENT, RECIPE, RESULTS, TRAIN_LOG, VERDICT, companion_path, table_path

T = TypeVar("T")


def load_comparison(
    runs: Sequence[str | Path], target: str | Path | None = None, retain: str | Path | None = None
) -> Comparison:
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
    first = comparison.models[0]
    for other in comparison.models[1:]:
        check_comparable(first.path, first.results, other.path, other.results)
    return comparison


def results_file(path: Path) -> Path:
    """The results file of a run folder, or the file itself."""
    if path.is_dir():
        file = path / RESULTS
        if not file.is_file():
            raise InputError(f"{path} has no results.json. Measure the model first: expunge eval --out {file}")
        return file
    if not path.is_file():
        raise InputError(f"{path} does not exist. Give a run folder or the results.json that `expunge eval` wrote.")
    return path


def load_run(file: Path, name: str | None = None) -> RunResult:
    """Read one results file and what lies beside it."""
    from expunge.report.words import learn  # which speaks of numbers as they are read here

    results = load_results(file)
    learn(results)
    folder, missing = file.parent, {}

    def beside(path: Path, read: Callable[[Path], T], empty: T, why: str) -> T:
        if path.is_file():
            return read(path)
        missing[path.name] = why
        return empty

    if results.table is None:
        missing[table_path(file).name] = "no answers of this model can be shown"
    examples = () if results.table is None else _examples(results.table)
    if name is not None:  # target and retain model: their own training is not what the page is about
        return RunResult(name=name, path=file, results=results, examples=examples, missing=missing)
    run = RunResult(
        name=folder.resolve().name if file.name == RESULTS else file.stem,
        path=file,
        results=results,
        examples=examples,
        recipe=beside(folder / RECIPE, _recipe, {}, "objective and settings are unknown"),
        steps=beside(folder / TRAIN_LOG, _steps, (), "no training curves can be drawn"),
        environment=beside(folder / ENVIRONMENT, read_object, {}, "versions and platform are unknown"),
        request=_request(folder / VERDICT),
        missing=missing,
    )
    return replace(run, name=run.objective or run.name)


def _companion(files: Sequence[Path], given: str | Path | None, role: Literal["target", "retain"]) -> RunResult | None:
    """The explicit results, or those beside the runs; several must be of one model."""
    name = {"target": "target", "retain": "retain model"}[role]
    if given is not None:
        return load_run(results_file(Path(given)), name)
    paths = [path for file in files if (path := companion_path(file, role)).is_file()]
    found = [load_run(path, name) for path in paths]
    for other in found[1:]:
        if other.results.model.fingerprint != found[0].results.model.fingerprint:
            raise InputError(
                f"The runs were measured beside different {role} models: {found[0].path} and {other.path} have other "
                f"fingerprints. Report them separately, or name one with --{role}."
            )
    return found[0] if found else None


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


def _examples(table: pa.Table) -> tuple[Example, ...]:
    fields = ("set", "index", *TEXT_COLUMNS)
    return tuple(
        Example(
            **{column: row[column] for column in fields},
            values={k: v for k, v in row.items() if k not in fields and isinstance(v, int | float)},
        )
        for row in table.to_pylist()
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


def _request(path: Path) -> Mapping[str, Any] | None:
    """The verdict row by row, where there is one, as `expunge verify` wrote it."""
    if not path.is_file():
        return None
    document = read_object(path)
    check_seal(path, document)
    return document


def _recipe(path: Path) -> Mapping[str, Any]:
    try:
        value = parse_yaml(_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is empty or not a mapping; it should be the recipe that `expunge unlearn` wrote.")
    return value
