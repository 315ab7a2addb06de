"""The page: what the template shows, put together from the loaded results. All text is escaped by the template."""

import base64
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import expunge
from expunge.files import whole_file
from expunge.report import figures, verdict
from expunge.report.answers import answers
from expunge.report.checks import doubts
from expunge.report.load import Comparison, Number, RunResult, load_comparison, objective_name
from expunge.report.redaction import Redaction
from expunge.report.tables import IN_OVERVIEW, fingerprints, gaps, glossary, overview, settings, tables
from expunge.report.words import printable, set_label, wording


def write_report(
    runs: Sequence[Path], out: Path, target: Path | None = None, retain: Path | None = None, redact: bool = False
) -> Path:
    """Write one self-contained HTML page about runs that were evaluated on the same rows.

    Args:
        runs: run folders or results files.
        out: the page.
        target: results of the model that had to forget; default: `results.target.json` beside a run's results.
        retain: results of the model that never saw the forget set; default: `results.retain.json` likewise.
        redact: hide questions and answers of the forget set.

    Returns:
        `out`.

    Raises:
        InputError: a file is missing, cut short, or does not belong with the others.
    """
    html = render(load_comparison(runs, target, retain), Redaction(redact))
    with whole_file(out) as part:
        part.write_text(html, encoding="utf-8", errors="replace")
    return Path(out)


def render(comparison: Comparison, redaction: Redaction) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("expunge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.loader.get_source(environment, "page.js")[0]
    style = environment.loader.get_source(environment, "page.css")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    verdicts = [verdict.judge(run, comparison.target, comparison.retain) for run in comparison.runs]
    return environment.get_template("page.html.j2").render(
        style=Markup(style),
        script=Markup(script),
        script_digest=digest,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=expunge.__version__,
        redacted=redaction.active,
        title=", ".join(run.name for run in comparison.runs),
        models=[model.name for model in comparison.models],
        run_names=[run.name for run in comparison.runs],
        asked=asked(comparison),
        verdicts=list(zip(comparison.runs, verdicts, strict=True)),
        outcome=outcome(comparison.runs, verdicts),
        thresholds=verdict,
        doubts=doubts(comparison),
        overview=overview(comparison, verdicts),
        plane=plane(comparison),
        tables=tables(comparison),
        glossary=glossary(comparison),
        curves=[(run.name, list(curves(run, f"run{i}"))) for i, run in enumerate(comparison.runs)],
        answers=answers(comparison, redaction),
        settings=settings(comparison.runs),
        fingerprints=fingerprints(comparison),
        gaps=gaps(comparison),
    )


def asked(comparison: Comparison) -> dict[str, Any]:
    """What the runs were asked to do, in words: shared facts once, then each run's objective and settings."""

    def shared(key: str) -> list[str]:
        found = []
        for run in (run for run in comparison.runs if run.recipe.get(key) is not None):
            rows = (run.environment.get("rows") or {}).get(key)
            found.append(f"{run.recipe[key]} ({rows} rows)" if rows else str(run.recipe[key]))
        return list(dict.fromkeys(found))

    results = comparison.runs[0].results
    sets = ", ".join(f"{set_label(name, results)} ({rows.rows} rows)" for name, rows in results.data.sets.items())
    return {
        "facts": [
            ("Model that had to forget", shared("model")),
            ("Forget set", shared("forget")),
            ("Retain set", shared("retain")),
            ("Refusals", shared("idk")),
            ("Measured on", [f"{results.data.spec}, suite {results.suite}: {sets}"]),
        ],
        "objectives": [(run.name, terms(run), settings_in_words(run)) for run in comparison.runs],
    }


def terms(run: RunResult) -> list[tuple[str, float, str]]:
    """The terms of a run's objective: name, weight, and what it does in one line."""
    import sys

    from expunge.errors import InputError
    from expunge.objectives import build_objective

    name, options = objective_name(run.recipe), run.recipe.get("objective")
    if name is None:
        return []
    try:
        known = isinstance(options, Mapping)
        objective = build_objective(name, {k: v for k, v in options.items() if k != "name"} if known else {})
    except InputError:  # an objective of the user's own
        return []
    lines = [(sys.modules[type(part.term).__module__].__doc__ or "").strip().split("\n")[0] for part in objective.terms]
    return [
        (part.name, part.weight, line.removeprefix(f"{part.name}: "))
        for part, line in zip(objective.terms, lines, strict=True)
    ]


def settings_in_words(run: RunResult) -> str:
    """The training settings that matter most, as a sentence."""
    if not run.recipe:
        return "Settings are not recorded: no recipe.yaml lies beside the results."
    # The environment has the defaults that a recipe leaves out.
    train = {**(run.environment.get("train") or {}), **(run.recipe.get("train") or {})}
    lora, seed = run.recipe.get("lora"), train.get("seed", run.environment.get("seed"))
    rows, times = train.get("per_device_train_batch_size"), train.get("gradient_accumulation_steps")
    last = run.steps[-1] if run.steps else None
    parts = [
        f"only a LoRA adapter of rank {lora.get('r')} trained" if lora else "all weights trained",
        f"learning rate {train['learning_rate']:g}" if "learning_rate" in train else "",
        f"{train['num_train_epochs']:g} passes over the forget set" if "num_train_epochs" in train else "",
        f"{rows * times} forget rows a step and process ({rows} × {times})" if rows and times else "",
        f"seed {seed}" if seed is not None else "",
        f"{last.step} optimiser steps" if last else "",
        f"{last.seconds:.0f} seconds" if last and last.seconds else "",
    ]
    sentence = ", ".join(part for part in parts if part)
    return sentence[0].upper() + sentence[1:] + "."


def outcome(runs: Sequence[RunResult], verdicts: Sequence[verdict.Verdict]) -> list[tuple[str, str, str]]:
    """Runs by their verdict, for the head of a page about several: (status, words, names)."""
    groups = {
        ("yes", "forgot, and kept the rest"): lambda forgotten, kept: forgotten == kept == "yes",
        ("no", "forgot, but damaged the rest"): lambda forgotten, kept: (forgotten, kept) == ("yes", "no"),
        ("no", "did not forget"): lambda forgotten, kept: forgotten == "no",
        ("no", "damaged the rest; forgetting not settled"): lambda forgotten, kept: (forgotten, kept) == ("open", "no"),
        ("open", "not settled"): lambda forgotten, kept: "open" in (forgotten, kept) and "no" not in (forgotten, kept),
    }
    named = [(run.name, (v.findings[0].status, v.findings[1].status)) for run, v in zip(runs, verdicts, strict=True)]
    found = [(*words, [name for name, pair in named if belongs(*pair)]) for words, belongs in groups.items()]
    return [(status, words, ", ".join(names)) for status, words, names in found if names]


def plane(comparison: Comparison) -> dict[str, Any] | None:
    """The utility-efficacy plane over the first pair of numbers that every run has; None without one."""
    for utility, efficacy in itertools.product(IN_OVERVIEW[:2], (*IN_OVERVIEW[2:4], "forget/fact_accuracy")):
        if all(_plane_value(run, utility) and _plane_value(run, efficacy) for run in comparison.runs):
            break
    else:
        return None
    points, absent = [], []
    for model in comparison.models:
        x, y = _plane_value(model, utility), _plane_value(model, efficacy)
        if x is None or y is None:
            absent.append(model.name)
            continue
        points.append(figures.Point(model.name, x.value, y.value, x.ci95, y.ci95, model not in comparison.runs))
    y_label = "1 − fact accuracy on the forget set" if "/" in efficacy else wording(efficacy).label
    before = _plane_value(comparison.target, utility) if comparison.target else None
    kept_from = verdict.KEPT_SHARE * before.value if before else None
    svg = figures.plane(
        points, f"{wording(utility).label}, higher is better →", f"{y_label}, higher is better →", kept_from
    )
    parts = {
        wording(name).label: ", ".join(comparison.runs[0].results.summary.parts[name])
        for name in (utility, efficacy)
        if name.endswith("_partial")
    }
    return {"svg": Markup(svg), "absent": absent, "kept": kept_from is not None, "parts": parts}


def _plane_value(model: RunResult, name: str) -> Number | None:
    if "/" not in name:
        return model.summary(name)
    fact = model.metric(name)
    if fact is None:
        return None
    ends = None if fact.ci95 is None else (1 - fact.ci95[1], 1 - fact.ci95[0])
    return Number(1 - fact.value, "higher", fact.n, ends)


def curves(run: RunResult, prefix: str) -> Iterator[Markup]:
    """Small figures of a run: each term, the gradient norm, the learning rate; those that were logged."""
    names = list(dict.fromkeys(name for step in run.steps for name in step.terms))
    wanted = [(name, f"Term {name}", [step.terms.get(name) for step in run.steps], False) for name in names]
    norms = [step.grad_norm for step in run.steps]
    wide = [norm for norm in norms if norm]
    wanted += [
        ("loss", "Total loss", [step.loss for step in run.steps], False),
        ("norm", "Gradient norm", norms, bool(wide) and max(wide) > 30 * min(wide) and 0 not in norms),
        ("rate", "Learning rate", [step.learning_rate for step in run.steps], False),
    ]
    for i, (_, title, values, log) in enumerate(wanted):
        if any(value is not None for value in values):
            yield Markup(figures.curve(f"{prefix}-{i}", printable(title), run.steps, values, log))
