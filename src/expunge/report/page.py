"""The page: what the templates show, put together from the loaded results. All text is escaped by the templates."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import expunge
from expunge.files import whole_file
from expunge.report.answers import answers
from expunge.report.asked import asked
from expunge.report.charts import curves, plane
from expunge.report.checks import doubts
from expunge.report.comparison import Comparison, RunResult
from expunge.report.load import load_comparison
from expunge.report.redaction import redact as redacted
from expunge.report.rows import row_verdicts
from expunge.report.tables import fingerprints, gaps, glossary, overview, settings, tables
from expunge.report.verdict import Status, Verdict, best_first, judge, thresholds
from expunge.report.verdict.forgotten import FORGOTTEN
from expunge.report.verdict.kept import KEPT
from expunge.report.verdict.likeness import LIKE_UNSEEN


@dataclass(frozen=True)
class Judged:
    """A run with its verdict and its place in the order in which runs were given."""

    run: RunResult
    verdict: Verdict
    place: int


def write_report(
    runs: Sequence[str | Path],
    out: str | Path,
    target: str | Path | None = None,
    retain: str | Path | None = None,
    redact: bool = False,
) -> Path:
    """Write one self-contained HTML page about runs that were evaluated on the same rows.

    Args:
        runs: run folders or results files.
        out: the page.
        target: results of the model that had to forget; default: `results.target.json` beside a run's results.
        retain: results of the model that never saw the forget set; default: `results.retain.json` likewise.
        redact: hide the forget set's texts, and the names of files, folders, models and runs.

    Returns:
        `out`.

    Raises:
        InputError: a file is missing, cut short, or does not belong with the others.
    """
    html = render(load_comparison(runs, target, retain), redact)
    with whole_file(out) as part:
        part.write_text(html, encoding="utf-8", errors="replace")
    return Path(out)


def render(comparison: Comparison, redact: bool = False) -> str:
    """The page as HTML."""
    if redact:
        comparison = redacted(comparison)
    environment = Environment(
        loader=PackageLoader("expunge.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> str:
        return PackageLoader("expunge.report").get_source(environment, name)[0]

    script = source("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    verdicts = [judge(run, comparison.target, comparison.retain) for run in comparison.runs]
    judged = [Judged(comparison.runs[i], verdicts[i], i) for i in best_first(comparison.runs, verdicts)]
    return environment.get_template("page.html.j2").render(
        style=Markup(source("page.css")),
        script=Markup(script),
        script_digest=digest,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=expunge.__version__,
        redacted=redact,
        title=", ".join(run.name for run in comparison.runs),
        models=[model.name for model in comparison.models],
        compared_with=[model.name for model in comparison.models if model not in comparison.runs],
        run_names=[run.name for run in comparison.runs],
        asked=asked(comparison),
        judged=judged,
        outcome=outcome(judged),
        questions=(FORGOTTEN, KEPT, LIKE_UNSEEN),
        thresholds=thresholds,
        doubts=doubts(comparison),
        row_verdicts=row_verdicts(comparison),
        overview=overview(comparison),
        plane=plane(comparison),
        tables=tables(comparison),
        glossary=glossary(comparison),
        curves=[(run.name, list(curves(run, f"run{i}"))) for i, run in enumerate(comparison.runs)],
        answers=answers(comparison),
        settings=settings(comparison.runs),
        fingerprints=fingerprints(comparison),
        gaps=gaps(comparison),
    )


def outcome(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Runs with the same answers to all three questions, in order of the first: status, words, names."""
    groups: dict[tuple[Status, str], list[str]] = {}
    for each in judged:
        groups.setdefault((each.verdict.status, each.verdict.words), []).append(each.run.name)
    return [{"status": status, "words": words, "names": ", ".join(names)} for (status, words), names in groups.items()]
