"""`expunge compare`: what changed between results, and what of it is beyond noise."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from expunge.evaluation.compare import Difference


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="A.json B.json ...", help="Results files or run folders.")],
    out: Annotated[Path | None, typer.Option(help="Write the table to a .md, .csv or .html file.")] = None,
    suite: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="The custom suite the results were measured with.")
    ] = None,
) -> None:
    """Compare the first results with each of the others, row by row of the same data."""
    from expunge.errors import InputError
    from expunge.evaluation.compare import FORMATS
    from expunge.evaluation.compare import compare as compare_results

    if out is not None and out.suffix not in FORMATS:
        raise InputError(f"{out}: the table is written as {', '.join(FORMATS)}.")
    found = compare_results(results, suite)
    if out is not None:
        from expunge.files import whole_file

        with whole_file(out) as part:
            part.write_text(FORMATS[out.suffix](found), encoding="utf-8")
    _print(results[0], found)
    if out is not None:
        typer.echo(f"Table: {out}")


def _print(first: Path, found: list["Difference"]) -> None:
    """A table of 80 columns: a group for each of the other results and set, a difference and below it its interval."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from expunge.evaluation.compare import lines

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for heading in ("metric", "first → other", "difference\n[95 % interval]", "n", "verdict"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("metric", "n", "verdict"))
    for (name, set_name), group in groupby(zip(found, lines(found), strict=True), key=lambda pair: _group(pair[0])):
        table.add_section()
        table.add_row(Text(f"{name}: {set_name}", "bold underline"))
        for difference, (_, metric, value, other, change, interval, n, _, verdict) in group:
            cells = (metric.split("/")[-1], f"{value} → {other}", f"{change}\n{interval}", n, verdict)
            table.add_row(*(Text(cell, "bold" if difference.beyond_noise else "") for cell in cells))
    console = Console()
    console.print(f"From the first, {first}, to each other; paired over rows, bold where beyond noise.", markup=False)
    console.print(table)


def _group(difference: "Difference") -> tuple[str, str]:
    """The other results, and the set."""
    set_name, slash, _ = difference.key.partition("/")
    return difference.name, set_name if slash else "over sets"
