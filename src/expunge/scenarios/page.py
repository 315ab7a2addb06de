"""The page of a scenario: its table, and a figure for each metric over the tasks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

import expunge
from expunge.files import whole_file
from expunge.report.figures import Line, lines
from expunge.report.page import source, templates
from expunge.report.words import interval, number
from expunge.scenarios.base import Scenario, TableRow

LABELS = {
    "forget/known": "Forgotten rows that are known",
    "forget/chance": "… by chance",
    "forget/probability": "Probability of forgotten answers",
    "forget/rougeL_recall": "ROUGE-L recall of forgotten answers",
    "retain/probability": "Probability of answers that must stay",
    "retain/rougeL_recall": "ROUGE-L recall of answers that must stay",
}
DRAWN = ("forget/known", "forget/rougeL_recall", "retain/probability", "retain/rougeL_recall")


def write_page(out: Path, scenario: Scenario, rows: Sequence[TableRow]) -> None:
    """Write the page."""
    environment = templates()
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.method, row.metric): row for row in rows}
    html = environment.get_template("scenario.html.j2").render(
        style=Markup(source(environment, "page.css")),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=expunge.__version__,
        scenario=scenario,
        seed=rows[0].seed,
        labels=list(LABELS.values()),
        table=[(method, [_shown(cells[method, metric]) for metric in LABELS]) for method in methods],
        figures=[Markup(lines(f"f{i}", LABELS[m], "task", _curves(rows, methods, m))) for i, m in enumerate(DRAWN)],
    )
    with whole_file(out) as part:
        part.write_text(html, encoding="utf-8")


def _shown(row: TableRow) -> tuple[str, str]:
    return number(row.value), f"{interval(row.ci95)}, n = {row.n}"


def _curves(rows: Sequence[TableRow], methods: Sequence[str], metric: str) -> list[Line]:
    found = []
    for method in methods:
        mine = [row for row in rows if row.method == method and row.metric.startswith(f"{metric}@")]
        found.append(Line(method, [int(row.metric.partition("@")[2]) for row in mine], [row.value for row in mine]))
    return found
