"""Digests that results carry, so that a value edited later is named: of every key, of all, of the table's columns.

They tell edits, not forgers: who edits a value can compute the digests anew.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from expunge.errors import InputError

WHOLE, BY_KEY = "digest", "digests"


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The content of results.json with a digest of each of its keys, and of all of it."""
    content = {**document, BY_KEY: {key: _digest(value) for key, value in _keys(document).items()}}
    return {**content, WHOLE: _digest(content)}


def check_seal(path: Path, document: Mapping[str, Any]) -> None:
    """See whether the content of results.json is what was written.

    Raises:
        InputError: it was edited, or has no digests.
    """
    if WHOLE not in document or not isinstance(document.get(BY_KEY), Mapping):
        raise InputError(
            f"{path}: has no digests to tell by whether it was edited; an earlier version wrote it. Measure again with "
            "`expunge eval`."
        )
    content = {key: value for key, value in document.items() if key != WHOLE}
    if _digest(content) == document[WHOLE]:
        return
    found = _keys({key: value for key, value in content.items() if key != BY_KEY})
    written = content[BY_KEY]
    edited = [key for key in {**written, **found} if key not in found or _digest(found[key]) != written.get(key)]
    raise InputError(
        f"{path}: was edited after it was written ({', '.join(edited) or 'its digests'}). Its numbers are not the ones "
        "that were measured: measure again with `expunge eval`."
    )


def column_digests(table: pa.Table) -> dict[str, str]:
    """A digest of the values of each column of a table of examples."""
    return {name: _digest(table[name].to_pylist()) for name in table.column_names}


def check_table(path: Path, table: pa.Table, results: Path, written: Mapping[str, str] | None) -> None:
    """See whether a table of examples is the one that results were written with.

    Raises:
        InputError: a column is not.
    """
    found, written = column_digests(table), written or {}
    edited = [name for name in {**written, **found} if found.get(name) != written.get(name)]
    if edited:
        raise InputError(
            f"{path}: is not the table that {results} was written with: its columns {', '.join(edited)} differ. "
            "Measure again with `expunge eval`."
        )


def _keys(document: Mapping[str, Any]) -> dict[str, Any]:
    """Every key, those of sections named `section/key`: `metrics/forget/probability`."""
    found: dict[str, Any] = {}
    for section, value in document.items():
        found |= {f"{section}/{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {section: value}
    return found


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()
