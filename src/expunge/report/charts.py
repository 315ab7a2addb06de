"""Which numbers are drawn: the utility-efficacy plane over all models, and each run's training curves."""

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from expunge.report import figures
from expunge.report.comparison import Comparison, Number, RunResult
from expunge.report.tables import leading_keys
from expunge.report.verdict.kept import UTILITIES
from expunge.report.verdict.thresholds import KEPT_SHARE
from expunge.report.words import printable, wording

EFFICACIES = ("forget_efficacy", "forget_efficacy_partial")


@dataclass(frozen=True)
class Plane:
    """The utility-efficacy plane: the figure, and what its caption must say.

    Attributes:
        svg: the figure.
        absent: models that lack one of the two numbers.
        kept: whether the line from which the rest counts as kept is drawn.
        parts: what a partial number is made of, by its label.
    """

    svg: Markup
    absent: list[str]
    kept: bool
    parts: dict[str, str]


def plane(comparison: Comparison) -> Plane | None:
    """The utility-efficacy plane over the first pair of numbers that every run has; None without one."""
    efficacies = (*EFFICACIES, *leading_keys(comparison))
    pairs = [
        (utility, efficacy)
        for utility in UTILITIES
        for efficacy in efficacies
        if all(_value(run, utility) and _value(run, efficacy) for run in comparison.runs)
    ]
    if not pairs:
        return None
    utility, efficacy = pairs[0]
    points, absent = [], []
    for model in comparison.models:
        x, y = _value(model, utility), _value(model, efficacy)
        if x is None or y is None:
            absent.append(model.name)
        else:
            points.append(figures.Point(model.name, x.value, y.value, x.ci95, y.ci95, model not in comparison.runs))
    before = _value(comparison.target, utility) if comparison.target else None
    label = f"1 − {wording(efficacy.split('/')[1]).in_sentence}" if "/" in efficacy else wording(efficacy).label
    parts = {
        wording(name).label: ", ".join(comparison.runs[0].results.summary.parts[name])
        for name in (utility, efficacy)
        if name.endswith("_partial")
    }
    svg = figures.plane(points, wording(utility).label, label, KEPT_SHARE * before.value if before else None)
    return Plane(Markup(svg), absent, before is not None, parts)


def _value(model: RunResult, name: str) -> Number | None:
    """A summary, or 1 minus a forget metric, so that higher is better."""
    if "/" not in name:
        return model.summary(name)
    shown = model.metric(name)
    if shown is None:
        return None
    ends = None if shown.ci95 is None else (1 - shown.ci95[1], 1 - shown.ci95[0])
    return Number(1 - shown.value, "higher", shown.n, ends)


def curves(run: RunResult, prefix: str) -> Iterator[Markup]:
    """Small figures of what a run logged: each term, the total loss, the gradient norm, the learning rate."""
    names = list(dict.fromkeys(name for step in run.steps for name in step.terms))
    norms = [step.grad_norm for step in run.steps]
    wide = [norm for norm in norms if norm]
    log_norms = bool(wide) and max(wide) > 30 * min(wide) and 0 not in norms
    wanted = [
        *((f"Term {name}", [step.terms.get(name) for step in run.steps], False) for name in names),
        ("Total loss", [step.loss for step in run.steps], False),
        ("Gradient norm", norms, log_norms),
        ("Learning rate", [step.learning_rate for step in run.steps], False),
    ]
    for i, (title, values, log) in enumerate(wanted):
        if any(value is not None for value in values):
            yield Markup(figures.curve(f"{prefix}-{i}", printable(title), run.steps, values, log))
