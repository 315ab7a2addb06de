"""The table of objectives, printed from the terms themselves."""

import inspect
from dataclasses import fields
from typing import Any

from expunge.objectives import COMPOSITES, TERMS
from expunge.objectives.composite import Weighted

COLUMNS = ("name", "side", "hyper-parameters", "views", "reference", "what it minimises", "paper (arXiv)")


def methods_rows() -> list[tuple[str, ...]]:
    """One row per term and named objective, in the order of `COLUMNS`."""
    rows = []
    for name, kind in TERMS.items():
        term = kind()
        rows.append(
            (
                name,
                Weighted(name, term).set,
                ", ".join(f"{f.name}={getattr(term, f.name)}" for f in fields(term)) or "-",
                ", ".join(term.needs.views),
                term.needs.reference or "-",
                (inspect.getdoc(kind) or "").splitlines()[0],
                kind.paper,
            )
        )
    for name, parts in COMPOSITES.items():
        formula = " + ".join(f"{weight:g} {member}" for member, weight in parts)
        rows.append((name, "both", "those of its terms", "-", "-", formula, TERMS[parts[0][0]].paper))
    return rows


def methods_table() -> Any:
    """The same as a rich table for the terminal."""
    from rich.table import Table

    table = Table(title="Objectives: any forget term + any regularisation term", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in methods_rows():
        table.add_row(*row)
    return table
