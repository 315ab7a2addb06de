"""The tables of the report: cells with value, interval and n; what was not measured; what the numbers belong to."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.evaluation.results.schema import RELEARNED, Measurement
from expunge.metrics.base import Better
from expunge.metrics.summaries import SUMMARIES
from expunge.report import verdict
from expunge.report.comparison import ABOVE_CONTROLS, Comparison, Number, RunResult, better_summary
from expunge.report.verdict.kept import UTILITIES
from expunge.report.words import ARROWS, interval, number, set_label, wording

IN_OVERVIEW = (*UTILITIES, "forget_efficacy", "forget_efficacy_partial", "forget_quality")


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
    """One line of a table: what was measured, with its direction, for each model; `name` as in results.json."""

    name: str
    label: str
    arrow: str
    direction: str
    cells: Sequence[Cell]

    @property
    def same_n(self) -> int | None:
        """How many rows every number of the line is from; None where they differ."""
        counts = {cell.n for cell in self.cells if cell.value is not None}
        return counts.pop() if len(counts) == 1 else None


def overview(comparison: Comparison) -> list[Line]:
    """The numbers that the verdict rests on, one value per model: leading forget metrics and summaries.

    Where a suite has neither, every number that was measured.
    """
    keys = with_relearning(comparison)
    lines = [_metric_line(comparison, key) for key in keys] + [_summary_line(comparison, name) for name in IN_OVERVIEW]
    return _measured(lines) or _measured([_metric_line(comparison, key) for key in _keys(comparison)])


def leading_keys(comparison: Comparison) -> list[str]:
    """The forget metrics that the verdict rests on, as far as any model has them."""
    for metrics in verdict.leading_metrics(comparison.runs[0]):
        keys = [f"forget/{metric}" for metric in metrics]
        found = [key for key in keys if any(model.metric(key) for model in comparison.models)]
        if found:
            return found
    return []


def with_relearning(comparison: Comparison) -> list[str]:
    """The leading keys, and what relearning brings back where every model was attacked."""
    attacked = all(model.metric(RELEARNED) for model in comparison.models)
    return leading_keys(comparison) + ([RELEARNED] if attacked else [])


def tables(comparison: Comparison) -> list[tuple[str, list[Line]]]:
    """Every number, by set: (set, lines); the summaries first."""
    keys = _keys(comparison)
    summaries = list(dict.fromkeys(name for model in comparison.models for name in model.results.summary.values))
    names = [name for name in SUMMARIES if name in summaries] + [n for n in summaries if n.endswith(ABOVE_CONTROLS)]
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


def _keys(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(key for model in comparison.models for key in model.results.metrics))


def _measured(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if any(cell.value is not None for cell in line.cells)]


def _set_of(key: str) -> str:
    return key.split("/", 1)[0]


def _set_order(keys: Sequence[str], key: str) -> int:
    """Sets in the order in which the results name them."""
    return [_set_of(other) for other in keys].index(_set_of(key))


def _metric_line(comparison: Comparison, key: str) -> Line:
    metric = key.split("/", 1)[1]
    found = [model.results.metrics.get(key) for model in comparison.models]
    better: Better = next(m.better for m in found if m is not None)
    words = wording(metric)
    return Line(key, words.label, *ARROWS[better], [_cell(measured, words.share) for measured in found])


def _summary_line(comparison: Comparison, name: str) -> Line:
    words = wording(name)
    cells = []
    for model in comparison.models:
        measured = model.summary(name)
        reason = model.results.summary.reasons.get(name, "not in the results")
        cell = _cell(measured, words.share) if measured else Cell(None, reason=reason)
        if against_retain(name) and measured is None and model is comparison.retain:
            cell = Cell(None, reason="the others are compared with it", absent="the reference")
        distance = model.results.summary.values.get("forget_quality_ks_distance")
        if name == "forget_quality" and cell.value is not None and distance is not None:
            cell = Cell(f"p = {cell.value}", f"KS {number(distance)}", cell.n)
        cells.append(cell)
    return Line(name, words.label, *ARROWS[better_summary(name)], cells)


def against_retain(name: str) -> bool:
    """Whether a summary compares with the retain model, which itself has none."""
    return name in SUMMARIES and SUMMARIES[name].against_retain


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
            if not (against_retain(name) and model is comparison.retain):  # it is the reference: nothing is missing
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
