"""`expunge forget`: from a model and rows to evidence; `expunge tune`: its search alone."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli.train import CUSTOM_HELP, SPEC_HELP, Date, System, Template
from expunge.cli.verify import tell
from expunge.errors import InputError

Model = Annotated[str | None, typer.Option(help="The model: a folder, a run, an adapter folder or a Hub name.")]
Forget = Annotated[str | None, typer.Option(help=f"Questions and answers to forget. {SPEC_HELP}")]
Retain = Annotated[str | None, typer.Option(help="Rows that must stay. Default: recovered from the model itself.")]
Base = Annotated[
    str | None, typer.Option(help="The model that it was fine-tuned from: removal goes towards it, with --retain.")
]
Holdout = Annotated[str | None, typer.Option(help="Rows the model never saw, for better controls.")]
Objectives = Annotated[
    list[str] | None,
    typer.Option("--objective", help=f"Choose among these; repeatable; default: those that fit. {CUSTOM_HELP}"),
]
Trials = Annotated[int, typer.Option(min=1, help="Settings to try, at most.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Begin no trial after so many minutes.")]
MaxLoss = Annotated[
    float, typer.Option(min=0, max=1, help="The share of the utility on rows that must stay that may be lost.")
]
Adapter = Annotated[
    bool | None, typer.Option("--adapter/--full", help="Train an adapter, or all weights; default: by size and memory.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the unfinished work in --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def forget(
    model: Model = None,
    forget: Forget = None,
    retain: Retain = None,
    base: Base = None,
    holdout: Holdout = None,
    objective: Objectives = None,
    trials: Trials = 8,
    minutes: Minutes = None,
    max_utility_loss: MaxLoss = 0.02,
    adapter: Adapter = None,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="The folder to make: model, verdict, report and all else.")] = Path("run"),
    resume: Resume = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before training.")] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave no text of the forget rows in --out: report, built rows, tables.")
    ] = False,
    quiet: Quiet = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Make a model forget rows, and show what it forgot: settings are searched, every row is judged, all is written."""
    from expunge.forget.flow import forget as run

    request = _request(out, resume, **_without(locals(), "out", "resume", "yes", "redact", "quiet", "run"))

    def confirm(question: str) -> bool:
        return yes or not sys.stdin.isatty() or typer.confirm(question, default=True)

    made = run(request, out, resume=resume, redact=redact, confirm=confirm, say=typer.echo, progress=not quiet)
    if made == out and (out / "report.html").is_file():
        tell(json.loads((out / "verdict.json").read_text(encoding="utf-8")))
        typer.echo(f"Report: {out / 'report.html'}  Model card: {out / 'README.md'}")


def tune(
    model: Model = None,
    forget: Forget = None,
    retain: Retain = None,
    base: Base = None,
    holdout: Holdout = None,
    objective: Objectives = None,
    trials: Trials = 8,
    minutes: Minutes = None,
    max_utility_loss: MaxLoss = 0.02,
    adapter: Adapter = None,
    seed: Seed = 0,
    out: Annotated[
        Path, typer.Option(help="The folder to make: recipe.yaml, the rows that were built, the study.")
    ] = Path("tuned"),
    resume: Resume = False,
    quiet: Quiet = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Search for settings that forget rows at an allowed price, and write them as a recipe; nothing is shipped."""
    from expunge.forget.flow import forget as run

    request = _request(out, resume, **_without(locals(), "out", "resume", "quiet", "run"))
    run(request, out, resume=resume, search_only=True, say=typer.echo, progress=not quiet)
    if (out / "recipe.yaml").is_file():
        typer.echo(f"Recipe: expunge unlearn {out / 'recipe.yaml'} --out RUN")


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _request(out: Path, resume: bool, **values: Any) -> Any:
    """The request of these options, or the one that is resumed."""
    from expunge.forget.request import ForgetRequest, resumable

    objectives = tuple(values.pop("objective") or ())
    if values["model"] is None and values["forget"] is None and resume:
        return resumable(out)
    for name in ("model", "forget"):
        if values[name] is None:
            raise InputError(f"--{name} is missing.")
    return ForgetRequest(**values, objectives=objectives)
