"""The rows that are measured, in two halves: settings are chosen on one, and methods reported on the other."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.data import configurations, load_records
from expunge.errors import InputError
from expunge.evaluation.suites import find_suite
from expunge.evaluation.suites.sets import configuration_of
from expunge.files import whole_folder

VALIDATION, TEST = "validation", "test"


def write_halves(folder: Path, suite: str, data: str, forget_split: str | None, holdout: str | None) -> str:
    """Write FOLDER/validation and FOLDER/test: of every set half of its rows, drawn at random and always alike.

    Args:
        folder: to be made.
        suite: whose sets they are.
        data: folder or Hub id.
        forget_split: e.g. "forget10"; may be left out where the data has one alone.
        holdout: SPEC of the holdout rows; default: the data's own.

    Returns:
        The forget split.

    Raises:
        InputError: the rows cannot be read, or the suite's sets are not halved that way.
    """
    known = configurations(data)
    splits = [name.removesuffix("_perturbed") for name in known if name.startswith("forget") and "_perturbed" in name]
    if forget_split is None and len(splits) != 1:
        raise InputError(f"{data}: forget_split: which one? There are: {', '.join(splits) or 'none'}.")
    split = forget_split or splits[0]
    found: dict[str, Sequence[Mapping[str, Any]]] = {}
    for spec in find_suite(suite).sets:
        name = configuration_of(spec, split)
        if ":" in name or spec.shots is not None:
            raise InputError(f"suite {suite}: its rows cannot be halved. Choose tofu or closer_look.")
        if spec.name == "holdout" and holdout is not None:
            found[name] = load_records(holdout)
        elif name in known:
            found[name] = load_records(f"{data}:{name}")
    for name, rows in found.items():
        if len(rows) < 4:
            raise InputError(f"{data}:{name}: {len(rows)} rows cannot be halved: give two or more for each half.")
    with whole_folder(folder) as part:
        for half in (VALIDATION, TEST):
            (part / half).mkdir()
            for name, rows in found.items():
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in _half(rows, half)]
                (part / half / f"{name}.json").write_text("".join(lines), encoding="utf-8", newline="\n")
    return split


def _half(rows: Sequence[Mapping[str, Any]], half: str) -> list[Mapping[str, Any]]:
    """Sets of the same size are halved alike: row i of the holdout stays the control of row i of the forget set."""
    chosen = set(random.Random(0).sample(range(len(rows)), len(rows) // 2))
    return [row for i, row in enumerate(rows) if (i in chosen) == (half == VALIDATION)]
