"""The report's answers and numbers in the terminal: one row per model, in 80 columns."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from expunge.report import verdict
from expunge.report.comparison import Comparison
from expunge.report.tables import Cell, overview, with_relearning
from expunge.report.verdict import Verdict
from expunge.report.verdict.kept import UTILITIES
from expunge.report.words import printable, rows

MARKS = {"yes": Text("✓", "bold blue"), "no": Text("✗", "bold yellow"), "open": Text("?", "dim")}
HEADS = ("gone", "kept", "like\nunseen")  # the three questions, as narrow as they go
MOST_NUMBERS = 2  # columns where no number leads; the page has all
LEGEND = (
    "✓ yes  ✗ no  ? not settled. [95 % interval] under each value; ↑ higher is better, ↓ lower is better. Like unseen: "
    "like a model that never saw the forget set."
)


def terminal_table(comparison: Comparison) -> RenderableType:
    """Target, retain model and runs with the three answers, the numbers they rest on and the strongest trace."""
    verdicts = [verdict.judge(run, comparison.target, comparison.retain) for run in comparison.runs]
    judged = {run.name: found for run, found in zip(comparison.runs, verdicts, strict=True)}
    lines, wanted = overview(comparison), (*with_relearning(comparison), *UTILITIES)
    shown = [line for line in lines if line.name in wanted] or lines[:MOST_NUMBERS]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    table.add_column("model", overflow="fold", min_width=8, max_width=14)
    for head in HEADS:
        table.add_column(head)
    for line in shown:
        n = f"\n{rows(line.same_n)}" if line.same_n else ""
        table.add_column(Text(f"{line.label} {line.arrow}{n}"), max_width=12)
    table.add_column("strongest trace", overflow="fold", min_width=10)
    for i, model in enumerate(comparison.models):
        found = judged.get(model.name)
        numbers = [_number(line.cells[i], line.same_n is None) for line in shown]
        last = i + 1 < len(comparison.models) and comparison.models[i + 1] is comparison.runs[0]
        table.add_row(Text(printable(model.name)), *_answers(found), *numbers, _trace(found), end_section=last)
    legend = [Text(LEGEND, "dim")]
    if len(comparison.runs) == 1:
        legend.insert(0, Text(printable(verdicts[0].headline)))
    return Group(table, *legend)


def _answers(found: Verdict | None) -> list[Text]:
    return [Text("–", "dim")] * len(HEADS) if found is None else [MARKS[finding.status] for finding in found.findings]


def _number(cell: Cell, with_n: bool) -> Text:
    if cell.value is None:
        return Text(cell.absent, "dim")
    return Text("\n".join((cell.value, cell.interval, *([rows(cell.n)] if with_n else []))))


def _trace(found: Verdict | None) -> Text:
    if found is None or found.strongest is None:
        return Text("–", "dim")
    return Text(printable(f"{found.strongest.label}\n{found.strongest.brief}"))
