"""Files to records: JSON, JSON Lines, CSV and Parquet, read strictly: as they stand, or refused by row and column."""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from expunge.errors import InputError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
DELIMITERS = (",", ";", "\t")
DEEPEST = 64  # levels of lists and objects in a row; what reads rows later goes down level by level

Records = list[dict[str, Any]]


def read_file(path: Path, name: str | None = None) -> Records:
    """Read one JSON, JSON Lines, CSV or Parquet file into records.

    Args:
        path: The file; its suffix says what it is.
        name: What to call it in errors; default: the path.

    Raises:
        InputError: Unreadable, truncated, malformed or ambiguous; the message names the row or line.
    """
    name = name or str(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{name}: not a format we read. Use {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".parquet":
            return _parquet(path, name)
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 text ({error}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error}).") from error
    return _csv(text, name) if path.suffix == ".csv" else _json(text, name)


def _parquet(path: Path, name: str) -> Records:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, partitioning=cast(str, None))  # annotated without the None that it documents
        records = table.to_pylist()
    except UnicodeDecodeError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{name}: not a whole Parquet file ({error}).") from error
    _refuse_twice(table.column_names, name)
    return records


def _csv(text: str, name: str) -> Records:
    """The rows of a CSV file, whose first row names the columns; every other one must have as many cells."""
    with _fields_of(len(text)):
        columns, *rows = list(_cells(text, _delimiter(text, name), name)) or [[]]
    _refuse_twice(columns, name)
    for row, cells in enumerate(rows):
        if len(cells) != len(columns):
            raise InputError(
                f"{name}, row {row}: {len(cells)} cells where the first line names {len(columns)} columns "
                f"({', '.join(columns)}). Text with a comma, a quote or a line break in it must stand in double quotes."
            )
    return [dict(zip(columns, cells, strict=True)) for cells in rows]


@contextmanager
def _fields_of(characters: int) -> Iterator[None]:
    """Let cells be as long as the file: the limit, a setting of the whole process, is 128 KiB by default."""
    limit = csv.field_size_limit(max(characters, 1))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _cells(text: str, delimiter: str, name: str) -> Iterator[list[str]]:
    """The cells of each line that is not empty."""
    # With newline="" lines end where CSV ends them, not at U+2028 or other characters of texts.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise InputError(f"{name}: broken or truncated CSV at line {reader.line_num}: {error}.") from error


def _delimiter(text: str, name: str) -> str:
    """The one delimiter that divides the first line; a comma where none does."""
    dividing = [delimiter for delimiter in DELIMITERS if _divides(delimiter, text)]
    if len(dividing) > 1:
        raise InputError(
            f"{name}: its first line can be divided at {' and at '.join(map(repr, dividing))}. Put the names of "
            "columns in double quotes, or use one delimiter."
        )
    return dividing[0] if dividing else ","


def _divides(delimiter: str, text: str) -> bool:
    try:
        return len(next(_cells(text, delimiter, ""), [])) > 1
    except InputError:  # quotes that end nowhere, or before another character
        return False


def _refuse_twice(columns: list[str], name: str) -> None:
    twice = [column for column, times in Counter(columns).items() if times > 1]
    if twice:
        raise InputError(f"{name}: there are several columns {twice[0]!r}. Rename all but one.")


def _json(text: str, name: str) -> Records:
    """A JSON array, one object, or JSON Lines (which TOFU's `.json` files are)."""
    first_line, _, rest = text.lstrip().partition("\n")
    # One object over several lines does not end with its first line; JSON Lines do.
    if not text.lstrip().startswith("[") and (not rest.strip() or _is_json(first_line)):
        lines = ((n, line.lstrip("\ufeff")) for n, line in enumerate(text.split("\n"), 1))  # files put together
        values = [_loads(line, f"{name}, line {n}") for n, line in lines if line.strip()]
    else:
        found = _loads(text, name)
        values = found if isinstance(found, list) else [found]
    for row, value in enumerate(values):
        if not isinstance(value, dict):
            raise InputError(f"{name}, row {row}: a row must be an object with columns, not {type(value).__name__}.")
        if any(isinstance(cell, (dict, list)) and _deeper(cell, DEEPEST) for cell in value.values()):
            raise InputError(f"{name}, row {row}: more than {DEEPEST} lists or objects inside each other.")
    return values


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _loads(text: str, where: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_number)
    except json.JSONDecodeError as error:
        place = where if ", line " in where else f"{where}, line {error.lineno}"
        raise InputError(f"{place}: broken or truncated JSON: {error.msg}, column {error.colno}.") from error
    except RecursionError as error:
        raise InputError(f"{where}: lists or objects inside each other, too many levels.") from error
    except ValueError as error:  # a key twice, NaN, an integer of thousands of digits
        raise InputError(f"{where}: {error}.") from error
    # Only an escape can put half of a surrogate pair into text that was UTF-8.
    if re.search(r"\\u[dD][89a-fA-F]", text) and re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        raise InputError(f"{where}: half of a surrogate pair (\\ud800 to \\udfff alone) is no character of a text.")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice!r} comes twice in one object")
    return value


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON can hold; write null where there is none")
    return number


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in inside)
