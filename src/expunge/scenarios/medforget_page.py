"""The page of the medforget scenario: a table for each level, the ladder, and coarse against fine requests."""

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
from expunge.worlds.hospital import KINDS, LEVELS
from expunge.worlds.hospital_rows import RUNGS

LABELS = {
    "forget/score": "Forget: score",
    "retain/score": "Retain: score",
    "gap/score": "Gap",
    "gap/rougeL_recall": "Gap, ROUGE-L of open answers",
    **{f"leak/{kind}/choice": f"Leak of choices, {kind}" for kind in reversed(KINDS)},
    **{f"leak/{kind}/said": f"Leak of answers, {kind}" for kind in reversed(KINDS)},
    "seconds": "Seconds",
}
OVERVIEW = {
    "gap/score": "Gap retain − forget",
    "leak/independent/choice": "Leak of choices, independent facts",
    "retain/score": "Score of what must stay",
}
LADDERS = {
    "exact_match": "Ladder: exact match above the retain model's",
    "rank": "Ladder: rank minus the retain model's",
}


def write_page(out: Path, scenario: Scenario, rows: Sequence[TableRow]) -> None:
    """Write the page."""
    environment = templates()
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.method, row.metric): row for row in rows}
    levels = [level for level in LEVELS if any(row.metric.startswith(f"{level}/") for row in rows)]

    def drawn(name: str, title: str, x_label: str, metrics: Sequence[str]) -> Markup:
        found = [
            Line(method, range(1, len(metrics) + 1), [cells[method, metric].value for metric in metrics])
            for method in methods
        ]
        return Markup(lines(name, title, x_label, found))

    overview = [
        drawn(f"o{i}", title, f"level: {', '.join(f'{n} {level}' for n, level in enumerate(levels, 1))}",
              [f"{level}/{metric}" for level in levels])
        for i, (metric, title) in enumerate(OVERVIEW.items())
    ]  # fmt: skip
    shown = [
        (
            level,
            [(method, [_shown(cells.get((method, f"{level}/{m}"))) for m in LABELS]) for method in methods],
            [
                drawn(f"{level}-{metric}", title, "rung", [f"{level}/ladder_leak/{metric}/{rung}" for rung in RUNGS])
                for metric, title in LADDERS.items()
            ],
        )
        for level in levels
    ]
    html = environment.get_template("medforget.html.j2").render(
        style=Markup(source(environment, "page.css")),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=expunge.__version__,
        scenario=scenario,
        seed=rows[0].seed,
        labels=list(LABELS.values()),
        overview=overview if len(levels) > 1 else [],
        levels=shown,
    )
    with whole_file(out) as part:
        part.write_text(html, encoding="utf-8")


def _shown(row: TableRow | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    return number(row.value), f"{interval(row.ci95)}, n = {row.n}" if row.n > 1 else ""
