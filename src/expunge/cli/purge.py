"""`expunge purge RUN`: delete what a run still holds of what was to be forgotten."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from expunge.errors import InputError
from expunge.runs import held_texts, unfinished


def purge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="Run directories, finished or not.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete texts of rows, caches and old checkpoints of runs. An unfinished run is deleted whole."""
    for run in runs:
        under_way = unfinished(run)
        if not run.is_dir() and not under_way.is_dir():
            raise InputError(f"{run}: there is no run there, finished or not.")
        found = held_texts(run) if run != under_way else []
        found += [under_way] if under_way.is_dir() else []
        for path in found:
            if not dry_run:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            typer.echo(f"{'would delete' if dry_run else 'deleted'} {path}")
        if not found:
            typer.echo(f"{run}: nothing to delete")
