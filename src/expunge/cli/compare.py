"""`expunge compare`: what changed between results, and what of it is beyond noise."""

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="A.json B.json ...", help="Results files or run folders.")],
    out: Annotated[Path | None, typer.Option(help="Write the table to a .md, .csv or .html file.")] = None,
    suite: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="The custom suite the results were measured with.")
    ] = None,
) -> None:
    """Compare the first results with each of the others, row by row of the same data."""
    from expunge.errors import InputError
    from expunge.evaluation.compare import FORMATS, lines
    from expunge.evaluation.compare import compare as compare_results

    if out is not None and out.suffix not in FORMATS:
        raise InputError(f"{out}: the table is written as {', '.join(FORMATS)}.")
    found = compare_results(results, suite)
    if out is not None:
        from expunge.files import whole_file

        with whole_file(out) as part:
            part.write_text(FORMATS[out.suffix](found), encoding="utf-8")
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Difference from {results[0]}, paired over rows", title_justify="left")
    for heading in ("metric", "first > other", "difference, 95 % interval", "n", "verdict"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "metric")
    for name, group in groupby(zip(found, lines(found), strict=True), key=lambda pair: pair[1][0]):
        table.add_section()
        table.add_row(Text(name, "bold underline"))
        for difference, (_, metric, first, other, change, interval, n, _, verdict) in group:
            cells = (metric, f"{first} > {other}", f"{change} {interval}", n, verdict)
            table.add_row(*(Text(cell, "bold" if difference.beyond_noise else "") for cell in cells))
    Console().print(table)
    if out is not None:
        typer.echo(f"Table: {out}")
