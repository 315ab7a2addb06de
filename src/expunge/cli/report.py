"""`expunge report`: the page and the terminal table about one or several evaluated runs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders or results.json files.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    target: Annotated[
        Path | None,
        typer.Option(
            help="Results of the model that had to forget.", show_default="results.target.json beside a run's results"
        ),
    ] = None,
    retain: Annotated[
        Path | None,
        typer.Option(
            help="Results of a model trained without the forget set.",
            show_default="results.retain.json beside a run's results",
        ),
    ] = None,
    redact: Annotated[bool, typer.Option("--redact", help="Hide questions and answers of the forget set.")] = False,
) -> None:
    """Write one self-contained HTML page about runs measured on the same rows, and print their numbers."""
    from rich.console import Console

    from expunge.report import load_comparison, terminal_table, write_report

    write_report(runs, out, target, retain, redact)
    console = Console()
    console.print(terminal_table(load_comparison(runs, target, retain)))
    console.print(f"Report: {out}", markup=False, highlight=False, soft_wrap=True)
