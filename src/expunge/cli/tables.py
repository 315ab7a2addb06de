"""Tables of what there is, printed from the things themselves."""

import inspect
from dataclasses import fields
from typing import Any

from expunge.objectives import COMPOSITES, TERMS
from expunge.objectives.composite import Weighted

COLUMNS = ("term", "what it minimises", "options", "paper")


def methods_rows() -> list[tuple[str, str, str, str, str]]:
    """Side ("forget", "retain" or "both") and then the `COLUMNS` of each term and named objective."""
    rows = []
    for name, kind in TERMS.items():
        term = kind()
        summary = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
        values = {f.name: getattr(term, f.name) for f in fields(term)}
        options = ", ".join(f"{n} (required)" if n in kind.required else f"{n}={v}" for n, v in values.items())
        if term.needs.reference:
            summary += " Needs the reference model."
        rows.append((Weighted(name, term).set, name, summary, options or "-", kind.paper))
    for name, parts in COMPOSITES.items():
        formula = " + ".join(f"{weight:g} {member}" for member, weight in parts)
        rows.append(("both", name, formula, "those of its terms", TERMS[parts[0][0]].paper))
    return sorted(rows, key=lambda row: ("forget", "retain", "both").index(row[0]))


def methods_table() -> Any:
    """The same as a rich table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Objectives: any forget term + any regularisation term, e.g. NPO+GD", title_justify="left")
    for column, share in zip(COLUMNS, (1, 4, 2, 1), strict=True):
        table.add_column(column, overflow="fold", ratio=share, min_width=8)
    side = None
    for row in methods_rows():
        if row[0] != side:
            table.add_section()
        side = row[0]
        table.add_row(*map(Text, row[1:]))
    return table
