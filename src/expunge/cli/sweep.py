"""`expunge sweep`: objectives x settings x seeds from one file."""

from pathlib import Path
from typing import Annotated

import typer


def sweep(
    file: Annotated[str, typer.Argument(help="What to run: a YAML file, see docs/sweep.md.")],
    out: Annotated[Path, typer.Option(help="The folder to make, or that of the same sweep, which is continued.")],
    workers: Annotated[
        int, typer.Option(min=1, help="Processes on this machine; others may join with the same command.")
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where workers share the study: a database (sqlite:///FILE, postgresql://...) or, on a network "
            "folder, a file for a journal.",
            show_default="OUT/study.db",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each run.")] = False,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
) -> None:
    """Run objectives x settings x seeds, measure each alike, and write one table and one picture.

    Exit code 4: some runs are not done; the table says which, and why.
    """
    from rich.console import Console

    from expunge.sweep import run
    from expunge.sweep.table import terminal_table

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line)

    if worker:
        run.worker(file, out, storage, say)
        return
    table = run.sweep(file, out, workers, storage, say=say)
    Console().print(terminal_table(table))
    for line in table:
        if line.reason:
            typer.echo(f"{line.name}: {line.diverged} diverged, {line.failed} failed: {line.reason}")
    written = [name for name in ("sweep.csv", "sweep.parquet", "sweep.runs.csv", "sweep.svg") if (out / name).is_file()]
    typer.echo(f"Table and picture: {', '.join(str(out / name) for name in written)}")
    undone = sum(line.waiting + line.diverged + line.failed for line in table)
    if waiting := sum(line.waiting for line in table):
        typer.echo(f"{waiting} runs are not done: their workers were killed. The same command continues.")
    if undone:
        raise typer.Exit(4)
