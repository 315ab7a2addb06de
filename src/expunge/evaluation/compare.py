"""Two or more results on the same rows: paired differences with intervals, and which of them are beyond noise."""

import csv
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expunge.errors import InputError
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.results.aggregate import (
    SUMMARIES,
    membership_scores,
    parts_of,
    resampled_summary,
    terms_of,
)
from expunge.evaluation.results.comparable import check_comparable
from expunge.evaluation.results.schema import Results, load_results
from expunge.evaluation.suites import SUITES, Suite, find_suite
from expunge.evaluation.suites.definition import fingerprint_suite
from expunge.evaluation.suites.judged import with_judges
from expunge.metrics import Better
from expunge.metrics.bootstrap import interval, resampled_means
from expunge.metrics.membership import auc, resampled_aucs
from expunge.runs import table_path


@dataclass(frozen=True)
class Difference:
    """One number of two models on the same rows.

    Attributes:
        key: `<set>/<metric>` or the name of a summary.
        first: value of the first results.
        other: value of the results named `name`.
        difference: other - first.
        ci95: paired bootstrap interval of the difference; None for fewer than two rows.
        n: rows that both have.
        better: the good direction.
    """

    name: str
    key: str
    first: float
    other: float
    difference: float
    ci95: tuple[float, float] | None
    n: int
    better: Better

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves 0 out. Of twenty differences that are none, one will, too."""
        return self.ci95 is not None and not self.ci95[0] <= 0 <= self.ci95[1]

    @property
    def verdict(self) -> str:
        """In one word or two."""
        if not self.beyond_noise:
            return "within noise"
        if self.better == "closer_to_reference":
            return "differs"
        return "better" if (self.difference > 0) == (self.better == "higher") else "worse"


def compare(paths: Sequence[str | Path], suite: str | Suite | None = None) -> list[Difference]:
    """Compare the first results with each of the others.

    Args:
        paths: results.json files, or run folders that hold one.
        suite: the custom suite that they were measured with; a shipped one is known from the files.

    Raises:
        InputError: fewer than two, purged, of different suites or rows, or of a suite that is not there.
    """
    if len(paths) < 2:
        raise InputError("Two results or more are compared: expunge compare A.json B.json ...")
    files = [Path(path) / "results.json" if Path(path).is_dir() else Path(path) for path in paths]
    results = [load_results(file) for file in files]
    for file, found in zip(files, results, strict=True):
        if found.table is None:
            raise InputError(
                f"{file}: its table of examples is not there ({table_path(file).name}; `expunge purge` deletes it), so "
                "that no row can be paired. `expunge report` still shows both results' numbers, each with its own "
                "interval. For differences, measure again with `expunge eval`."
            )
    given = results[0].recipe
    fluency = (given.get("fluency_model") or {}).get("name")
    judges = JudgeModels(classifiers=given.get("classifiers") or {}, fluency_model=fluency)
    suite = with_judges(_suite_of(files[0], results[0], suite), judges)
    differing: list[Difference] = []
    for file, other in zip(files[1:], results[1:], strict=True):
        check_comparable(files[0], results[0], file, other)
        name = file.parent.name if file.name == "results.json" and file.parent.name else file.stem
        differing.extend(differences(name, suite, results[0], other))
    return differing


def _suite_of(file: Path, results: Results, given: str | Suite | None) -> Suite:
    """The suite that results were measured with. Code that a results file names is never run: a user must name it."""
    if given is None and results.suite not in SUITES:
        raise InputError(
            f"{file} was measured with the custom suite {results.suite!r}. Name it: expunge compare ... --suite "
            "FILE.py:NAME"
        )
    suite = SUITES[results.suite] if given is None else find_suite(given)
    if fingerprint_suite(suite) != results.recipe.get("suite_fingerprint"):
        raise InputError(
            f"{file} was measured with another definition of suite {results.suite!r} than "
            f"{'this version has' if given is None else given}: its sets, limits or metrics differ. Name the custom "
            "suite it was measured with (--suite FILE.py:NAME), or measure again with `expunge eval`."
        )
    return suite


def differences(name: str, suite: Suite, first: Results, other: Results) -> Iterator[Difference]:
    """Every difference between two results that were measured in both."""
    sets = [spec.name for spec in suite.sets if spec.name in first.data.sets and spec.name in other.data.sets]
    for key in SUMMARIES:
        (ours, missing), (theirs, missing_there) = (parts_of(key, suite, r.examples, sets) for r in (first, other))
        if ours and missing == missing_there:
            a, b = (SUMMARIES[key].value([float(np.nanmean(v)) for v in parts.values()]) for parts in (ours, theirs))
            drawn, drawn_there = (resampled_summary(key, parts) for parts in (ours, theirs))
            between = None if drawn is None or drawn_there is None else interval(drawn_there - drawn)
            n = sum(first.data.sets[s].rows for s in {part.split("/")[0] for part in ours})
            yield Difference(name, f"{key}_partial" if missing else key, a, b, b - a, between, n, "higher")
    for spec in (s for s in suite.sets if s.name in sets and s.kind != "holdout"):
        for metric in suite.metrics_of(spec):
            key = f"{spec.name}/{metric.name}"
            if metric.relative_to is not None:
                continue  # each was measured against its own reference model
            if metric.member:
                scores, scores_there = (
                    membership_scores(metric, spec, suite, r.examples, None) for r in (first, other)
                )
                if scores is None or scores_there is None:
                    continue
                a, b = auc(*scores, metric.member), auc(*scores_there, metric.member)
                change = resampled_aucs(*scores_there, metric.member) - resampled_aucs(*scores, metric.member)
                between = interval(change) if min(map(len, scores)) > 1 else None
                yield Difference(name, key, a, b, b - a, between, sum(map(len, scores)), metric.better[spec.kind])
                continue
            ours, theirs = (terms_of(metric, spec, r.examples) for r in (first, other))
            both = ~np.isnan(ours) & ~np.isnan(theirs)
            if not both.any():
                continue
            change = np.where(both, theirs - ours, np.nan)
            a, b = float(ours[both].mean()), float(theirs[both].mean())
            between = interval(resampled_means(change)) if both.sum() > 1 else None
            yield Difference(name, key, a, b, b - a, between, int(both.sum()), metric.better[spec.kind])


HEADINGS = ("results", "metric", "first", "other", "difference", "95 % interval", "n", "better", "verdict")


def lines(found: Sequence[Difference]) -> Iterator[tuple[str, ...]]:
    """The cells of a table, a line per difference."""
    for d in found:
        between = "–" if d.ci95 is None else f"[{d.ci95[0]:+.3g}, {d.ci95[1]:+.3g}]"
        direction = d.better.replace("_", " ")
        numbers = (f"{d.first:.4g}", f"{d.other:.4g}", f"{d.difference:+.3g}", between, str(d.n))
        yield (d.name, d.key, *numbers, direction, d.verdict)


def as_markdown(found: Sequence[Difference]) -> str:
    """A Markdown table."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *lines(found)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def as_csv(found: Sequence[Difference]) -> str:
    """CSV with full precision; the interval in two columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["results", "metric", "first", "other", "difference", "low", "high", "n", "better", "verdict"])
    for d in found:
        between = ["", ""] if d.ci95 is None else d.ci95
        writer.writerow([d.name, d.key, d.first, d.other, d.difference, *between, d.n, d.better, d.verdict])
    return text.getvalue()


def as_html(found: Sequence[Difference]) -> str:
    """A page with one table, in which differences beyond noise are bold."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in HEADINGS)
    body = "".join(
        f"<tr{' class=beyond' if d.beyond_noise else ''}>"
        + "".join(f"<td>{html.escape(c)}</td>" for c in row)
        + "</tr>\n"
        for d, row in zip(found, lines(found), strict=True)
    )
    style = (
        ":root{color-scheme:light dark}body{font:15px system-ui;margin:1rem;overflow-x:auto}"
        "table{border-collapse:collapse}th,td{padding:.3rem .6rem;border-bottom:1px solid #8885;text-align:left}"
        ".beyond{font-weight:600}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Comparison</title>'
        f"<style>{style}</style></head><body><h1>Comparison</h1><p>Paired differences on the same rows, with 95 % "
        f"bootstrap intervals; bold: beyond noise.</p>\n<table><thead><tr>{head}</tr></thead><tbody>\n{body}"
        "</tbody></table></body></html>\n"
    )


FORMATS = {".md": as_markdown, ".csv": as_csv, ".html": as_html}
