"""The report's numbers in the terminal: one row per model."""

from rich.table import Table
from rich.text import Text

from expunge.report import verdict
from expunge.report.load import Comparison
from expunge.report.tables import overview
from expunge.report.words import printable

_VERDICT = {"yes": ("✓ yes", "bold blue"), "no": ("✗ no", "bold yellow"), "open": ("? not settled", "dim")}


def terminal_table(comparison: Comparison) -> Table:
    """Target, runs and retain model with the numbers that decide the verdict; each with interval, n and direction."""
    verdicts = [verdict.judge(run, comparison.target, comparison.retain) for run in comparison.runs]
    content = overview(comparison, verdicts)
    table = Table(
        title="Unlearning: value [95 % interval] n; ↑ higher is better, ↓ lower is better", title_justify="left"
    )
    table.add_column("model", overflow="fold")
    for line in content["columns"]:
        table.add_column(Text(f"{line.label} {line.arrow}"), justify="left")
    table.add_column("forgotten")
    table.add_column("kept")
    for name, cells, judged in content["rows"]:
        numbers = [
            Text(f"{cell.value}\n{cell.interval}\nn = {cell.n}") if cell.value is not None else Text(cell.absent, "dim")
            for cell in cells
        ]
        words = (
            [Text(*_VERDICT[finding.status]) for finding in judged.findings[:2]] if judged else [Text("–"), Text("–")]
        )
        table.add_row(Text(printable(name)), *numbers, *words, end_section=judged is None and name == "target")
    return table
