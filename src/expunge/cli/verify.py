"""`expunge verify`: a verdict on any pair of models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli.train import SPEC_HELP, Date, System, Template


def verify(
    model: Annotated[str, typer.Option(help="The unlearned model: folder, run folder, adapter folder or Hub name.")],
    target: Annotated[str, typer.Option(help="The model before unlearning.")],
    forget: Annotated[str, typer.Option(help=f"Rows that had to be forgotten. {SPEC_HELP}")],
    out: Annotated[Path, typer.Option(help="The folder to write verdict.json into.")],
    retain: Annotated[
        str | None, typer.Option(help="Rows that must stay: without them nothing can be called forgotten.")
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="Rows never trained on, for more controls.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the relearning attack.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")] = None,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Judge, row by row, what a model forgot: forgotten, weaker, still known, or never known."""
    from expunge.data import load_rows
    from expunge.evaluation import Questions
    from expunge.forget import verify as run

    style = Questions(template=template, system=system, date=date).style_for(target)
    kept, never = ([] if spec is None else load_rows(spec) for spec in (retain, holdout))
    options = {"style": style, "seed": seed, "device": device, "out": out, "progress": not quiet}
    verdict = run(model, target, load_rows(forget), kept, never, **options)
    tell(verdict.to_json())
    typer.echo(f"Written: {out / 'verdict.json'}")


def tell(verdict: Mapping[str, Any]) -> None:
    """What verdict.json says, for the terminal."""
    from collections import Counter

    from expunge.report.rows import losses

    typer.echo(f"Verdict: {verdict['overall'].replace('_', ' ')}")
    for reason in verdict["reasons"]:
        typer.echo(f"  {reason}")
    counts = Counter(row["status"].replace("_", " ") for row in verdict["rows"])
    typer.echo("Rows: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    for line in losses(verdict["evidence"]):
        typer.echo(f"  {line}")
