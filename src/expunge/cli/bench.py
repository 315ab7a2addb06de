"""`expunge bench`: the leaderboard."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    out: Annotated[Path, typer.Option(help="The folder to make, or that of the same leaderboard, which is continued.")],
    file: Annotated[
        str | None,
        typer.Argument(
            help="What to run: a YAML file, see docs/results.md. Default: thirteen methods on an embedded example.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for each run.")] = False,
) -> None:
    """Compare methods with the same search budget for each, chosen on validation rows and reported on test rows.

    Exit code 4: some runs are not done; OUT/results.md says which, and why.
    """
    from expunge.bench import bench as run

    def say(line: str) -> None:
        if not quiet:
            typer.echo(line)

    found = run(file, out, workers, say=say)
    typer.echo(f"Leaderboard: {out / 'results.md'}")
    if any(line.waiting + line.diverged + line.failed for line in (*found.searched, *found.table)):
        raise typer.Exit(4)
