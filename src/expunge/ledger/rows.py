"""Rows in a ledger: their files, the digests they are known by, and which rows of a set were requested."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from expunge.data import Row, load_records, load_rows, parse_row
from expunge.errors import InputError
from expunge.files import whole_file
from expunge.metrics.facts import plain
from expunge.models import salted_digest


def records_text(spec: str | Path, asking: bool = False) -> str:
    """The rows of a SPEC as JSON Lines, columns sorted: the same rows give the same text.

    Args:
        spec: Where the rows are.
        asking: Whether each must have a prompt.

    Raises:
        InputError: The rows cannot be read or used.
    """
    rows = load_rows(spec)
    if asking and (passages := [number for number, row in enumerate(rows) if not row.turns]):
        raise InputError(
            f"{spec}: row {passages[0]} is plain text. Whether a request is forgotten is judged by questions and "
            "answers: give 'prompt' and 'completion', e.g. the first sentences of a passage and the rest."
        )
    return lines(load_records(spec))


def lines(records: Iterable[dict[str, Any]]) -> str:
    """Records as JSON Lines."""
    return "".join(json.dumps(one, sort_keys=True, default=str) + "\n" for one in records)


def write_rows(path: Path, text: str) -> None:
    """Write rows so that they are there after a power failure, too."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
        synchronise(part)
    synchronise(path.parent)


def synchronise(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_rows(path: Path, digest: str) -> tuple[str, list[Row]]:
    """The text of a file of rows, and the rows.

    Raises:
        InputError: The file is missing, or is not what was recorded.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the rows cannot be read ({error}). Put the file back from a copy.") from error
    if salted_digest(text) != digest:
        raise InputError(f"{path}: is not what was recorded; it was edited. Put it back from a copy.")
    return text, parsed(text, path)


def parsed(text: str, path: Path) -> list[Row]:
    """The rows of a text of JSON Lines."""
    return [parse_row(json.loads(line), f"{path}, row {i}") for i, line in enumerate(text.splitlines())]


def key(row: Row) -> str:
    """A salted digest of what makes two rows the same request: their words, whatever the case and white space."""
    pictures = [picture.digest for turn in row.turns for picture in turn.pictures]
    words = [[plain(turn.content) for turn in row.turns], plain(row.opening + row.completion), *pictures]
    return salted_digest(json.dumps(words))


def without(text: str, rows: Sequence[Row], keys: Iterable[str]) -> str:
    """The lines of a file of rows, less those whose rows have one of these keys."""
    gone = set(keys)
    kept = zip(text.splitlines(keepends=True), rows, strict=True)
    return "".join(line for line, row in kept if key(row) not in gone)


def described(text: str, rows: Sequence[Row]) -> dict[str, Any]:
    """What a record says of a file of rows."""
    return {"rows": len(rows), "digest": salted_digest(text)}
