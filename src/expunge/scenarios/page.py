"""The page of a scenario: its table, and a figure for each metric: over the tasks, or a bar for each method."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

import expunge
from expunge.files import whole_file
from expunge.report.figures import Bar, Line, bars, lines
from expunge.report.page import source, templates
from expunge.report.words import interval, number
from expunge.scenarios.base import REPORT, Scenario, TableRow, write_table


def publish(out: Path, scenario: Scenario, rows: Sequence[TableRow], full: bool = False) -> None:
    """Write table.json and the page into a folder.

    Args:
        out: The folder.
        scenario: Says what is shown.
        rows: Of its table, all with one seed.
        full: Whether its full form was run.
    """
    write_table(out, scenario.name, rows)
    environment = templates()
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.method, row.metric): row for row in rows}
    metrics = [metric for metric in scenario.labels if any(row.metric == metric for row in rows)]
    followed = {row.metric.partition("@")[0] for row in rows if "@" in row.metric}
    html = environment.get_template("scenario.html.j2").render(
        style=Markup(source(environment, "page.css")),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=expunge.__version__,
        scenario=scenario,
        form="full form" if full else "small form",
        differs=scenario.full_differs if full else scenario.differs,
        seed=rows[0].seed,
        last=bool(followed & set(metrics)),
        followed=bool(followed),
        labels=[scenario.labels[metric] for metric in metrics],
        table=[(method, [_shown(cells.get((method, metric))) for metric in metrics]) for method in methods],
        figures=[
            Markup(_figure(f"f{i}", scenario, metric, rows, methods))
            for i, metric in enumerate(scenario.drawn)
            if metric in {*metrics, *followed}
        ],
    )
    with whole_file(out / REPORT) as part:
        part.write_text(html, encoding="utf-8")


def _shown(row: TableRow | None) -> tuple[str, str]:
    if row is None:
        return "–", ""
    return number(row.value), f"{interval(row.ci95)}, n = {row.n}" if row.ci95 else f"n = {row.n}"


def _figure(name: str, scenario: Scenario, metric: str, rows: Sequence[TableRow], methods: Sequence[str]) -> str:
    """The metric over the tasks, a line for each method that has them; where none has, a bar for each."""
    title, curves = scenario.labels[metric], []
    for method in methods:
        mine = [row for row in rows if row.method == method and row.metric.startswith(f"{metric}@")]
        curves.append(Line(method, [int(row.metric.partition("@")[2]) for row in mine], [row.value for row in mine]))
    if drawn := [curve for curve in curves if curve.x]:
        return lines(name, title, scenario.step, drawn)
    return bars(name, title, [Bar(row.method, row.value, row.ci95) for row in rows if row.metric == metric])
