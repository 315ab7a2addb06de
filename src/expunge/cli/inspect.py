"""`expunge loss`, `expunge methods`, `expunge validate`: look without training."""

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from expunge.cli.train import CUSTOM_HELP, SPEC_HELP, Date, System, Template


def loss(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[objective.KEY=VALUE ...] [train.text_prompt=N]",
            help="Options of the objective, and how many characters of a plain passage are its prompt.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="The model to evaluate.")] = ...,  # type: ignore[assignment]
    reference: Annotated[str | None, typer.Option(help="The frozen model, where the objective needs one.")] = None,
    forget: Annotated[str, typer.Option(help=f"Rows to forget. {SPEC_HELP}")] = ...,  # type: ignore[assignment]
    retain: Annotated[str | None, typer.Option(help=f"Rows to keep. {SPEC_HELP}")] = None,
    idk: Annotated[Path | None, typer.Option(help="Refusals, one a line; default: the hundred shipped ones.")] = None,
    objective: Annotated[str, typer.Option(help=f'E.g. "DPO+AP". {CUSTOM_HELP}')] = "NPO+GD",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """The value of each term of an objective on all given rows, as one batch."""
    from expunge.errors import InputError
    from expunge.training.recipe import check_train_options, objective_of, parse_overrides

    overrides = parse_overrides(list(words or []))
    text_prompt = overrides.pop("train.text_prompt", None)
    check_train_options({"text_prompt": text_prompt})
    if any(not key.startswith("objective.") for key in overrides):
        raise InputError("loss takes options of the section objective, e.g. objective.beta=0.1, and train.text_prompt.")
    built = objective_of(objective, {key.removeprefix("objective."): v for key, v in overrides.items()})
    from expunge.data import PromptStyle, load_rows
    from expunge.models import kept_style
    from expunge.training.batching import load_refusals
    from expunge.training.objective_value import objective_value

    rows = load_rows(forget), load_rows(retain) if retain else []
    style = (kept_style(model) or PromptStyle()).updated(template, system, date)
    result = objective_value(model, reference, built, *rows, load_refusals(idk), text_prompt=text_prompt, style=style)
    if json:
        typer.echo(json_module.dumps(result))
        return
    for term in result["terms"]:
        typer.echo(f"{term['name']:10} {term['set']:7} weight {term['weight']:<8g} value {term['value']:.6g}")
    typer.echo(f"{'total':10} {'':7} {'':15} value {result['total']:.6g}")


def methods() -> None:
    """List the objectives: terms, hyper-parameters, what they need, and their papers."""
    from rich.console import Console

    from expunge.cli.tables import methods_table

    Console().print(methods_table())


def validate(recipe: Annotated[Path, typer.Argument(help="The recipe to check.")]) -> None:
    """Check a recipe: every key, every value, the objective and its options. Nothing is loaded or run."""
    from expunge.training.recipe import custom_names, read_recipe

    read = read_recipe(recipe, {})
    if custom := custom_names(read.objective_name):
        typer.echo(f"{recipe}: valid, as far as can be told without running {', '.join(custom)}.")
        return
    built = read.build_objective()
    terms = " + ".join(f"{part.weight:g} {part.name}" for part in built.terms)
    typer.echo(f"{recipe}: valid. Objective {built.name} = {terms}.")
