"""`expunge merge RUN`: adapter and model as one plain model."""

from pathlib import Path
from typing import Annotated

import typer


def merge(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run or adapter folder.")],
    out: Annotated[Path, typer.Option(help="The model folder to make.")],
    dtype: Annotated[str, typer.Option(help="Of the weights: float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Merge a run's adapter into its model, and save a plain one that any transformers program loads."""
    from expunge.models.merge import merge_adapter

    typer.echo(f"Saved {merge_adapter(run, out, dtype)}")
