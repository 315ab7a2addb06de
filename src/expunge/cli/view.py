"""`expunge view`: a run in the browser."""

from pathlib import Path
from typing import Annotated

import typer


def view(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder with results.json.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="On 127.0.0.1.", show_default="a free one")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Hide questions and answers of the forget set, and names; no chat.")
    ] = False,
) -> None:
    """Show a run in the browser: its report, a chat of before and after, its rows, its trade-off."""
    from expunge.view import view as serve

    serve(run, port, browser=not no_browser, hidden=redact, say=typer.echo)
