"""`expunge ledger`: requests to forget, over time."""

from pathlib import Path
from typing import Annotated, Any

import typer

from expunge.cli.train import CUSTOM_HELP, SPEC_HELP, Date, System, Template

ledger = typer.Typer(
    name="ledger",
    help="Requests over time: recorded for good, processed one by one, and measured again after each.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The ledger's folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
Device = Annotated[str | None, typer.Option(help="To measure on: cpu, cuda ...; default: a GPU if there is one.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RECIPE] [SECTION.KEY=VALUE ...]", help="As for expunge unlearn."),
]
ObjectiveName = Annotated[
    str | None, typer.Option("--objective", help=f'Forget term + regularisation term, e.g. "NPO+GD". {CUSTOM_HELP}')
]


@ledger.command()
def init(
    folder: Folder,
    model: Annotated[str, typer.Option(help="The first model: a folder, a run or adapter folder, or a Hub name.")],
    retain: Annotated[str, typer.Option(help=f"Rows to keep. {SPEC_HELP}")],
    words: Words = None,
    objective: ObjectiveName = None,
    holdout: Annotated[
        str | None, typer.Option(help="Rows never trained on: more controls to judge answers by.")
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Objectives compare with: first, the first model; or previous, the one before.")
    ] = "first",
    idk: Annotated[Path | None, typer.Option(help="Refusals, one a line; default: the hundred shipped ones.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the weights: float32 (default) or bfloat16.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Allow code that comes with the model to run.")
    ] = False,
    template: Template = None,
    system: System = None,
    date: Date = None,
) -> None:
    """Make a ledger: record the model, the rows to keep, and how requests are to be processed."""
    from expunge.ledger import init as make
    from expunge.training.recipe import read_recipe, split_words

    path, options = split_words(words or [])
    named: dict[str, Any] = {
        "objective": objective,
        "idk": idk and str(idk),
        "dtype": dtype,
        "trust_remote_code": trust_remote_code or None,
        "template": template,
        "system": system,
        "date": date,
    }
    given = {key: value for key, value in named.items() if value is not None}
    recipe = read_recipe(path, {**given, "model": model, "retain": retain, "forget": "-", **options})
    made = make(folder, recipe, holdout, reference)
    typer.echo(f"Ledger: {folder}. First model: {made.timeline().init['model']['fingerprint']}")


@ledger.command()
def add(
    folder: Folder,
    forget: Annotated[str, typer.Option(help=f"Rows to forget. {SPEC_HELP}")],
    id: Annotated[str, typer.Option(help="Of the request: it names files, and stays in the records for good.")],
    note: Annotated[str, typer.Option(help="Kept in the records for good: write nothing that must be erased.")] = "",
) -> None:
    """Record a request. The same again changes nothing."""
    from expunge.ledger import add as record

    new = record(folder, forget, id, note)
    typer.echo(f"{id}: recorded" if new else f"{id}: already recorded, with the same rows")


@ledger.command()
def run(
    folder: Folder,
    words: Words = None,
    objective: ObjectiveName = None,
    batch: Annotated[int, typer.Option(min=1, help="So many pending requests at once.")] = 1,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the model in which something came back as good, and go on.")
    ] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Then keep the texts of processed requests as salted digests only.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Then delete the weights of all states but the last, which know more.")
    ] = False,
    quiet: Quiet = False,
    device: Device = None,
) -> None:
    """Process what is pending; the same command goes on after a kill. Settings given here are for this run."""
    from expunge.ledger import run as process
    from expunge.training.recipe import split_words

    path, options = split_words(words or [])
    named = {} if objective is None else {"objective": objective}
    made = process(
        folder,
        path,
        named | options,
        batch=batch,
        accept=accept,
        redact=redact,
        prune=prune,
        quiet=quiet,
        device=device,
    )
    _say(made)
    if not made:
        typer.echo("Nothing is pending.")


@ledger.command()
def undo(
    folder: Folder,
    request: Annotated[str, typer.Argument(metavar="REQ", help="The request's id.")],
    quiet: Quiet = False,
    device: Device = None,
) -> None:
    """Take a request back: make the model without it, from the one before it, and the later ones again."""
    from expunge.ledger import undo as take_back

    made = take_back(folder, request, quiet=quiet, device=device)
    typer.echo(f"{request}: undone")
    _say(made)


def _say(made: list[Any]) -> None:
    for state in made:
        known = ", ".join(f"{name} {found['known']}/{found['rows']}" for name, found in state.finished["known"].items())
        typer.echo(f"{', '.join(state.requests)}: states/{state.name}; known now: {known}")


@ledger.command()
def status(folder: Folder) -> None:
    """List the requests: what each is worth before, right after and now, and what is next."""
    from rich.console import Console

    from expunge.ledger.page import status_table
    from expunge.ledger.store import Store
    from expunge.ledger.timeline import replay

    timeline = replay(Store(folder).records())
    Console().print(status_table(timeline))
    if timeline.stopped:
        typer.echo(
            f"Stopped: with {', '.join(timeline.stopped.requests)} came back {', '.join(timeline.stopped.came_back)}."
        )
    if timeline.under_way:
        typer.echo(f"Under way: {', '.join(timeline.under_way.requests)}.")
    typer.echo(f"Model: {folder / 'states' / timeline.last if timeline.last else timeline.init['model']['path']}")
    typer.echo(f"Last digest: {timeline.head}")


@ledger.command()
def verify(
    folder: Folder,
    head: Annotated[
        str | None, typer.Option(help="A digest that was noted earlier: nothing up to it may have been replaced.")
    ] = None,
) -> None:
    """Compute the chain and every digest again: records, rows, weights, results."""
    from expunge.ledger import verify as check

    count, digest = check(folder, head)
    typer.echo(f"{folder}: {count} records, all as recorded. Last digest: {digest}")


@ledger.command()
def report(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("ledger.html"),
    redact: Annotated[bool, typer.Option("--redact", help="Hide ids, notes and names of files.")] = False,
) -> None:
    """Write one self-contained HTML page: requests, the matrix of what is known when, and every record."""
    from expunge.ledger import write_report

    write_report(folder, out, redact)
    typer.echo(f"Report: {out}")
