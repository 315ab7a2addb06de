"""What a report is about, as plain values: runs with their numbers, answers, logs and settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.evaluation.results.schema import Measurement, Results
from expunge.metrics.base import Better, Kind
from expunge.metrics.summaries import SUMMARIES

ABOVE_CONTROLS = "_above_holdout"
"""Ending of the summaries that compare the forget set with controls: `probability_above_holdout`."""


def better_summary(name: str) -> Better:
    """Which way a summary is better."""
    return SUMMARIES[name].better if name in SUMMARIES else "lower" if name.endswith(ABOVE_CONTROLS) else "higher"


@dataclass(frozen=True)
class Number:
    """A measured value with the rows it rests on, its 95 % interval and the direction that is good."""

    value: float
    better: Better
    n: int
    ci95: tuple[float, float] | None


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
    """One evaluated model; `steps`, `recipe` and `environment` are empty where it was not made by `expunge unlearn`.

    `request` is what verdict.json says row by row, where there is one.
    """

    name: str
    path: Path
    results: Results
    examples: tuple[Example, ...] = ()
    steps: tuple[Step, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)  # file -> why the report cannot show it

    @property
    def objective(self) -> str | None:
        """The objective that the recipe names, for example "NPO+GD"."""
        named = self.recipe.get("objective")
        return named.get("name") if isinstance(named, Mapping) else named

    def metric(self, key: str) -> Number | None:
        """The number called `<set>/<metric>`, or None where results.json does not have it or it is null."""
        found = self.results.metrics.get(key)
        return None if found is None else number_of(found)

    def summary(self, name: str) -> Number | None:
        """A number over sets; `n` counts the rows that went into it."""
        found = self.results.summary
        value = found.values.get(name)
        if value is None:
            return None
        sets = self.results.data.sets
        n = sum(sets[s].rows for s in {part.split("/")[0] for part in found.parts.get(name, ())} if s in sets)
        if name == "privleak":
            attack = self.metric("forget/mia_min_k")
            n = attack.n if attack else 0
        if name.endswith(ABOVE_CONTROLS):
            asked = self.metric(f"forget/{name.removesuffix(ABOVE_CONTROLS)}")
            n = asked.n if asked else 0
        n = int(found.values.get("flops_tokens" if name == "flops" else f"{name}_n") or n)
        return Number(value, better_summary(name), n, found.ci95.get(name))

    def kind(self, set_name: str) -> Kind:
        """What a set is for."""
        return self.results.kind_of(set_name)

    def smaller_side(self, set_name: str) -> int:
        """For membership inference: the rows of a set, or of the holdout set where those are fewer."""
        sets = self.results.data.sets
        return min((sets[n].rows for n in sets if n == set_name or self.kind(n) == "holdout"), default=0)


def number_of(measured: Measurement) -> Number | None:
    """The number, if it was measured."""
    return None if measured.value is None else Number(measured.value, measured.better, measured.n, measured.ci95)


@dataclass(frozen=True)
class Comparison:
    """What one page shows: unlearned models measured on the same rows, with target and retain model where known."""

    runs: tuple[RunResult, ...]
    target: RunResult | None
    retain: RunResult | None

    @property
    def models(self) -> tuple[RunResult, ...]:
        """What is compared with first: target, retain model, then the runs."""
        return tuple(model for model in (self.target, self.retain, *self.runs) if model is not None)
