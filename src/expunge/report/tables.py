"""The tables of the report: cells with value, interval and n; what was not measured; what the numbers belong to."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.evaluation.results.schema import Measurement
from expunge.metrics.summaries import SUMMARIES
from expunge.report import verdict
from expunge.report.load import Comparison, Number, RunResult
from expunge.report.words import ARROWS, interval, number, set_label, wording

IN_OVERVIEW = (
    "model_utility",
    "model_utility_partial",
    "forget_efficacy",
    "forget_efficacy_partial",
    "forget_quality",
)


@dataclass(frozen=True)
class Cell:
    """One number of a table; `reason` says why there is none."""

    value: str | None
    interval: str = ""
    n: int = 0
    reason: str = ""
    absent: str = "not measured"


@dataclass(frozen=True)
class Line:
    """One line of a table: what was measured, with its direction, for each model."""

    label: str
    arrow: str
    direction: str
    cells: Sequence[Cell]


def overview(comparison: Comparison, verdicts: Sequence[verdict.Verdict]) -> dict[str, Any]:
    """One row per model: leading forget metrics and summaries, as far as anything was measured, and the verdict."""
    keys = leading_keys(comparison)
    lines = [_metric_line(comparison, key) for key in keys] + [_summary_line(comparison, name) for name in IN_OVERVIEW]
    columns = [line for line in lines if any(cell.value is not None for cell in line.cells)]
    by_name = {run.name: v for run, v in zip(comparison.runs, verdicts, strict=True)}
    return {
        "columns": columns,
        "rows": [
            (model.name, [column.cells[i] for column in columns], by_name.get(model.name))
            for i, model in enumerate(comparison.models)
        ],
    }


def leading_keys(comparison: Comparison) -> list[str]:
    """The forget metrics that the verdict rests on, as far as any model has them."""
    for metrics in verdict.leading_metrics(comparison.models[0]):
        keys = [f"forget/{metric}" for metric in metrics]
        found = [key for key in keys if any(model.metric(key) for model in comparison.models)]
        if found:
            return found
    return []


def tables(comparison: Comparison) -> list[tuple[str, list[Line]]]:
    """Every number, by set: (set, lines); the summaries first."""
    keys = list(dict.fromkeys(key for model in comparison.models for key in model.results.metrics))
    names = [n for n in SUMMARIES if any(n in model.results.summary.values for model in comparison.models)]
    groups = [("Over all sets", [_summary_line(comparison, name) for name in names])] if names else []
    for name, of_set in itertools.groupby(sorted(keys, key=lambda key: _set_order(keys, key)), _set_of):
        groups.append(
            (set_label(name, comparison.models[0].results), [_metric_line(comparison, key) for key in of_set])
        )
    return groups


def glossary(comparison: Comparison) -> list[tuple[str, str]]:
    """What each number in the tables means, in words."""
    keys = [key for model in comparison.models for key in (*model.results.summary.values, *model.results.metrics)]
    names = dict.fromkeys(key.split("/")[-1] for key in keys)
    return [(words.label, words.meaning) for words in map(wording, names) if words.meaning]


def _set_of(key: str) -> str:
    return key.split("/", 1)[0]


def _set_order(keys: Sequence[str], key: str) -> int:
    """Sets in the order in which the results name them."""
    return [_set_of(other) for other in keys].index(_set_of(key))


def _metric_line(comparison: Comparison, key: str) -> Line:
    metric = key.split("/", 1)[1]
    found = [model.results.metrics.get(key) for model in comparison.models]
    better = next(m.better for m in found if m is not None)
    words = wording(metric)
    return Line(words.label, *ARROWS[better], [_cell(measured, words.share) for measured in found])


def _summary_line(comparison: Comparison, name: str) -> Line:
    words = wording(name)
    cells = []
    for model in comparison.models:
        measured = model.summary(name)
        reason = model.results.summary.reasons.get(name, "not in the results")
        cell = _cell(measured, words.share) if measured else Cell(None, reason=reason)
        if SUMMARIES[name].against_retain and measured is None and model is comparison.retain:
            cell = Cell(None, reason="the others are compared with it", absent="the reference")
        distance = model.results.summary.values.get("forget_quality_ks_distance")
        if name == "forget_quality" and cell.value is not None and distance is not None:
            cell = Cell(f"p = {cell.value}", f"KS {number(distance)}", cell.n)
        cells.append(cell)
    better = next((n.better for model in comparison.models if (n := model.summary(name))), "higher")
    return Line(words.label, *ARROWS[better], cells)


def _cell(measured: Number | Measurement | None, share: bool) -> Cell:
    if measured is None or measured.value is None:
        return Cell(None, reason=measured.reason or "" if isinstance(measured, Measurement) else "not in the results")
    return Cell(number(measured.value, share), interval(measured.ci95, share), measured.n)


def settings(runs: Sequence[RunResult]) -> list[tuple[str, list[str]]]:
    """Every recipe key with each run's value."""
    flat = [dict(_flat(run.recipe)) for run in runs]
    keys = list(dict.fromkeys(key for recipe in flat for key in recipe))
    return [(key, ["–" if recipe.get(key) is None else str(recipe[key]) for recipe in flat]) for key in keys]


def fingerprints(comparison: Comparison) -> dict[str, list[tuple[str, list[str]]]]:
    """What the numbers belong to: weights, rows, recipe of the evaluation, code, and the runs' environments."""
    models = [
        (
            model.name,
            [
                model.results.model.path,
                model.results.model.fingerprint,
                str((model.results.recipe or {}).get("fingerprint", "–")),
                " ".join(str(value) for value in (model.results.code or {}).values()) or "–",
            ],
        )
        for model in comparison.models
    ]
    sets = [
        (set_label(name, comparison.runs[0].results), [str(rows.rows), rows.fingerprint])
        for name, rows in comparison.runs[0].results.data.sets.items()
    ]
    environments = [
        (f"{run.name}: {key}", [str(value)]) for run in comparison.runs for key, value in _flat(run.environment)
    ]
    return {"models": models, "sets": sets, "environments": environments}


def gaps(comparison: Comparison) -> list[tuple[str, list[tuple[str, str]]]]:
    """Everything that was not measured: (reason, [(what, for which models)])."""
    found: dict[str, dict[str, list[str]]] = {}

    def note(reason: str, what: str, model: str) -> None:
        found.setdefault(reason.rstrip("."), {}).setdefault(what, []).append(model)

    for model in comparison.models:
        results = model.results
        for key, measured in results.metrics.items():
            if measured.value is None:
                name, metric = key.split("/", 1)
                note(measured.reason or "", f"{wording(metric).label} on {set_label(name, results)}", model.name)
        for name, why in results.data.left_out.items():
            note(why, f"the set {set_label(name, results)}", model.name)
        summary = results.summary
        for name in (n for n, value in summary.values.items() if value is None and n in summary.reasons):
            known = SUMMARIES.get(name)
            if (
                known is None or not known.against_retain or model is not comparison.retain
            ):  # nothing is missing: it is the reference
                note(summary.reasons[name], wording(name).label, model.name)
        for file, why in model.missing.items():
            note(why, f"the file {file}", model.name)
    for role, model in (("target", comparison.target), ("retain model", comparison.retain)):
        if model is None:
            note(f"no results of a {role} were given (expunge eval, then --{role.split()[0]})", f"the {role}", "all")
    everyone = [model.name for model in comparison.models]
    return [
        (reason, [(what, "all models" if who in (everyone, ["all"]) else ", ".join(who)) for what, who in what.items()])
        for reason, what in found.items()
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
