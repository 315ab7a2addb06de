"""`expunge demo`: all of it, on an embedded example."""

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.report import report


def demo(
    out: Annotated[Path, typer.Option(help="The folder to make; an earlier demo there is replaced.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Decides the invented people, the first weights, the order of rows.")] = 0,
) -> None:
    """Unlearn, measure and report on an embedded example: no download, no GPU, a few minutes."""
    from expunge.cli.demonstration import demo as run

    runs = run(out, seed, typer.echo)
    report(runs, out / "report.html")
