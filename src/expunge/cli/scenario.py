"""`expunge scenario` and `expunge scenarios`: the papers' experiments, one command each."""

import re
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
    model: Annotated[str | None, typer.Option(help="The full form's target model: a folder or Hub name.")] = None,
    data: Annotated[str | None, typer.Option(help="Its data: a folder or Hub id in the published layout.")] = None,
    forget: Annotated[str | None, typer.Option(metavar="SPEC", help="What is to be forgotten.")] = None,
    retain: Annotated[str | None, typer.Option(metavar="SPEC", help="What must stay.")] = None,
    judge: Annotated[str | None, typer.Option(help="A model that judges outputs, where one is needed.")] = None,
    embedding_model: Annotated[str | None, typer.Option(help="Of sentences, for cosine similarity.")] = None,
    nli_model: Annotated[str | None, typer.Option(help="A classifier, for entailment.")] = None,
    retain_model: Annotated[
        str | None, typer.Option(help="A model trained without what is to be forgotten, to compare with.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of world, model and training.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Run a paper's scenario: its methods, measured, in OUT/table.json and OUT/report.html.

    With --small it makes all that it needs; without, it takes the options that expunge scenarios lists.
    """
    from expunge.scenarios import SCENARIOS, Sources, claim
    from expunge.scenarios.page import publish

    if name not in SCENARIOS:
        raise unknown("scenario", name, SCENARIOS)
    chosen = SCENARIOS[name]
    options = {
        "--model": model,
        "--data": data,
        "--forget": forget,
        "--retain": retain,
        "--judge": judge,
        "--embedding-model": embedding_model,
        "--nli-model": nli_model,
        "--retain-model": retain_model,
    }
    given = {option: value for option, value in options.items() if value is not None}
    if small:
        if given:
            raise InputError(f"--small makes its own model and rows: leave {', '.join(given)} out, or --small.")
    elif chosen.full is None:
        raise InputError(f"Scenario {name} has its small form only so far: give --small.")
    elif model is None:
        raise InputError(f"Scenario {name} needs {chosen.takes}; or --small, which makes its own model and rows.")
    elif other := next((option for option in given if option not in re.findall(r"--[a-z-]+", chosen.takes)), None):
        raise InputError(f"Scenario {name} takes no {other}, only {chosen.takes}.")
    asked = {option.removeprefix("--"): value for option, value in options.items()}
    claim(out, {"scenario": name, "seed": seed, **asked})
    if chosen.full is None or model is None:
        rows = chosen.small(out, seed, quiet, typer.echo)
    else:
        sources = Sources(model, data, forget, retain, judge, retain_model, embedding_model, nli_model)
        rows = chosen.full(sources, out, seed, quiet, typer.echo)
    if chosen.labels:  # else it has written its own page
        publish(out, chosen, rows, full=not small)
    typer.echo(f"Table: {out / 'table.json'}")
    typer.echo(f"Report: {out / 'report.html'}")


def scenarios() -> None:
    """List the scenarios: what each asks, its paper, and what its full form takes."""
    from expunge.scenarios import SCENARIOS

    for one in SCENARIOS.values():
        forms = " or ".join(form for form in ("--small", one.takes) if form)
        typer.echo(f"{one.name}\n    {one.summary}\n    arXiv {one.paper}; {forms}")
