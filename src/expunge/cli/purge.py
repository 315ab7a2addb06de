"""`expunge purge RUN`: delete what a run still holds of what was to be forgotten."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from expunge.errors import InputError
from expunge.runs import LEDGER, held_texts, left_behind


def purge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="Run directories, finished or not.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete texts of rows, caches and old checkpoints of runs. What a killed process left is deleted whole.

    Of a ledger, the texts of processed requests; those that are still to be processed are kept.
    """
    for run in runs:
        if (run / LEDGER).is_file():
            _purge_ledger(run, dry_run)
            continue
        left = left_behind(run)
        if not run.is_dir() and not left:
            raise InputError(f"{run}: there is no run there, finished or not.")
        found = [*([] if run in left else held_texts(run)), *left]
        for path in found:
            if not dry_run:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            typer.echo(f"{'would delete' if dry_run else 'deleted'} {path}")
        if not found:
            typer.echo(f"{run}: nothing to delete")


def _purge_ledger(folder: Path, dry_run: bool) -> None:
    from expunge.ledger import purge as purge_ledger

    deleted, kept = purge_ledger(folder, dry_run)
    for path in deleted:
        typer.echo(f"{'would delete' if dry_run else 'deleted'} {path}")
    for path in kept:
        typer.echo(f"kept {path}: still to be processed")
    if not deleted and not kept:
        typer.echo(f"{folder}: nothing to delete")
