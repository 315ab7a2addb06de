"""From a SPEC on the command line to rows.

A SPEC is a file, a folder, a Hub id, or `folder-or-id:configuration[:split]`.
"""

from pathlib import Path
from typing import Any

from expunge.data.folders import DEFAULT_SPLIT, folder_configurations, folder_files
from expunge.data.formats import SUFFIXES, Records, read_file
from expunge.data.hub import hub_configurations, hub_records
from expunge.data.rows import Row, parse_row
from expunge.errors import InputError


def load_rows(spec: str | Path, columns: tuple[str, str] | None = None) -> list[Row]:
    """Read every row of a SPEC.

    Args:
        spec: Where the rows are.
        columns: Of the prompt and the completion, where the layout is none of the usual ones.

    Raises:
        InputError: The source does not exist, cannot be read, is empty, or a row cannot be used.
    """
    rows = [
        parse_row(record, f"{name}, row {i}", columns, Path(name).parent)
        for name, records in _sources(spec)
        for i, record in enumerate(records)
    ]
    if not rows:
        raise InputError(f"{spec}: there are no rows in it.")
    return rows


def load_records(spec: str | Path) -> list[dict[str, Any]]:
    """Read a SPEC as plain records, without asking for prompt and completion columns."""
    return [record for _, records in _sources(spec) for record in records]


def split_spec(spec: str | Path) -> tuple[str, str | None, str | None]:
    """Take `source[:configuration[:split]]` apart; a source that exists as it stands is left whole."""
    text = str(spec)
    if Path(text).exists():
        return text, None, None
    source, *rest = text.split(":")
    if len(rest) > 2 or not source:
        raise InputError(f"{text!r} is not a SPEC. Use a file, a folder, a Hub id, or source:configuration[:split].")
    configuration, split = (*rest, "", "")[:2]
    return source, configuration or None, split or None


def configurations(source: str | Path) -> list[str]:
    """The configuration names a folder or a Hub data set offers, sorted."""
    path = Path(source)
    if path.is_dir():
        return folder_configurations(path)
    if path.exists():
        raise InputError(f"{source} is a file; a folder or a Hub id with configurations is needed here.")
    _refuse_paths(str(source))
    return hub_configurations(str(source))


def _sources(spec: str | Path) -> list[tuple[str, Records]]:
    """The records of a SPEC by file, each with its name for errors."""
    source, configuration, split = split_spec(spec)
    path = Path(source)
    if path.is_dir():
        return [(str(file), read_file(file)) for file in folder_files(path, configuration, split)]
    if path.exists():
        if configuration is not None:
            raise InputError(f"{spec}: {source} is a file, which has no configurations. Leave {configuration!r} out.")
        return [(source, read_file(path))]
    _refuse_paths(source)
    return [(str(spec), hub_records(source, configuration, split or DEFAULT_SPLIT))]


def _refuse_paths(source: str) -> None:
    """A path that does not exist is not looked up on the Hub."""
    if source.startswith((".", "/", "~")) or Path(source).suffix in SUFFIXES or source.count("/") > 1:
        raise InputError(f"{source}: no such file or folder.")
