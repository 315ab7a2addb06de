"""`expunge attack`: does it come back?"""

from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.train import SPEC_HELP, Date, System, Template


def attack(
    model: Annotated[str, typer.Option(help="The unlearned model: folder, run folder, adapter folder or Hub name.")],
    target: Annotated[str, typer.Option(help="The model before unlearning.")],
    out: Annotated[Path, typer.Option(help="The file to write, e.g. RUN/attack.json.")],
    retain_model: Annotated[
        str | None, typer.Option(help="Model trained without the forget set: what does not come back there was gone.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Folder or Hub id with the sets, as for `expunge eval`.")] = None,
    forget_split: Annotated[str | None, typer.Option(help="With --data: e.g. forget10.")] = None,
    forget: Annotated[str | None, typer.Option(help=f"The forget rows, in place of --data. {SPEC_HELP}")] = None,
    retain: Annotated[
        str | None, typer.Option(help="Rows that must stay: for relearning and few-shot prompts.")
    ] = None,
    holdout: Annotated[str | None, typer.Option(help="Rows never trained on: for membership inference.")] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(help="relearn, sample, prompts, probe, mia or quantize; repeatable; default: all that apply."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer settings, fewer samples.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: a GPU if there is one.")] = None,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Try to bring back what a model was made to forget; target and retain model are attacked alike."""
    from rich.console import Console

    from expunge.attacks.base import Role
    from expunge.attacks.data import read_data
    from expunge.attacks.run import attack as run
    from expunge.attacks.table import reasons, terminal_table
    from expunge.evaluation import Questions

    rows = read_data(data, forget_split, forget, retain, holdout)
    models: dict[Role, str] = {"target": target, "unlearned": model}
    if retain_model is not None:
        models["retain"] = retain_model
    style = Questions(template=template, system=system, date=date).style_for(model)
    found = run(
        models, rows, attack or (), style=style, seed=seed, quick=quick, device=device, out=out, progress=not quiet
    )
    Console().print(terminal_table(found.rows))
    for line in reasons(found.not_measured):
        typer.echo(line)
    typer.echo(f"Results: {out}")
