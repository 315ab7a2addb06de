"""`expunge scenario` and `expunge scenarios`: the papers' experiments, one command each."""

from pathlib import Path
from typing import Annotated

import typer

from expunge.errors import InputError, unknown


def scenario(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of those that expunge scenarios lists.")],
    out: Annotated[Path, typer.Option(help="The folder to make; an unfinished one is continued.")],
    small: Annotated[
        bool, typer.Option("--small", help="On two cores in minutes, with a model made on the spot.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of world, model and training.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Run a paper's scenario: its methods, measured, in OUT/table.json and OUT/report.html."""
    from expunge.scenarios import SCENARIOS

    if name not in SCENARIOS:
        raise unknown("scenario", name, SCENARIOS)
    if not small:
        raise InputError(f"Scenario {name} has its small form only so far: give --small.")
    out.mkdir(parents=True, exist_ok=True)
    SCENARIOS[name].small(out, seed, quiet, typer.echo)
    typer.echo(f"Table: {out / 'table.json'}")
    typer.echo(f"Report: {out / 'report.html'}")


def scenarios() -> None:
    """List the scenarios: what each asks, and its paper."""
    from expunge.scenarios import SCENARIOS

    for one in SCENARIOS.values():
        typer.echo(f"{one.name}\n    {one.summary}\n    arXiv {one.paper}; --small")
