"""From a SPEC on the command line to rows.

A SPEC is a file, a folder, a Hub id, or `folder-or-id:configuration[:split]`.
"""

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from expunge.data.rows import Row, parse_row
from expunge.errors import InputError, unknown

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def load_rows(spec: str | Path) -> list[Row]:
    """Read every row of a SPEC.

    Raises:
        InputError: The source does not exist, cannot be read, is empty, or a row lacks its columns.
    """
    rows = [parse_row(record, f"{spec}, row {i}") for i, record in enumerate(load_records(spec))]
    if not rows:
        raise InputError(f"{spec}: there are no rows in it.")
    return rows


def load_records(spec: str | Path) -> list[dict[str, Any]]:
    """Read a SPEC as plain records, without asking for prompt and completion columns."""
    source, configuration, split = split_spec(spec)
    path = Path(source)
    if path.is_file():
        return read_file(path)
    if path.is_dir():
        return [record for file in _files(path, configuration, split) for record in read_file(file)]
    if source.startswith((".", "/", "~")) or path.suffix in SUFFIXES:
        raise InputError(f"{source}: no such file or folder.")
    return _from_hub(source, configuration, split)


def split_spec(spec: str | Path) -> tuple[str, str | None, str]:
    """Take `source[:configuration[:split]]` apart; a source that exists as it stands is left whole."""
    text = str(spec)
    if Path(text).exists():
        return text, None, "train"
    source, *rest = text.split(":")
    if len(rest) > 2 or not source:
        raise InputError(f"{text!r} is not a SPEC. Use a file, a folder, a Hub id, or source:configuration[:split].")
    return source, (rest[0] or None) if rest else None, rest[1] if len(rest) == 2 else "train"


def configurations(source: str | Path) -> list[str]:
    """The configuration names a folder or a Hub data set offers, sorted."""
    path = Path(source)
    if path.is_dir():
        declared = _declared(path)
        return sorted(declared or {file.stem for file in path.iterdir() if file.suffix in SUFFIXES})
    if path.exists():
        raise InputError(f"{source} is a file; a folder or a Hub id with configurations is needed here.")
    from datasets import get_dataset_config_names

    try:
        return sorted(get_dataset_config_names(str(source)))
    except Exception as error:
        raise InputError(f"{source}: neither a folder nor a data set on the Hub ({error}).") from error


def _declared(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Configurations declared in the front matter of the folder's README.md: name -> split -> file patterns."""
    readme = folder / "README.md"
    if not readme.is_file():
        return {}
    head = readme.read_text(encoding="utf-8")
    if not head.startswith("---\n"):
        return {}
    try:
        front = yaml.safe_load(head.split("---\n", 2)[1]) or {}
        return {
            entry["config_name"]: {part["split"]: _as_list(part["path"]) for part in _data_files(entry["data_files"])}
            for entry in front.get("configs", [])
        }
    except (yaml.YAMLError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{readme}: its front matter does not declare configurations properly ({error!r}).") from error


def _data_files(value: Any) -> list[dict[str, Any]]:
    """`data_files` may be a path, a list of paths, or a list of {split, path}."""
    entries = _as_list(value)
    if all(isinstance(entry, Mapping) for entry in entries):
        return entries
    return [{"split": "train", "path": entries}]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _files(folder: Path, configuration: str | None, split: str) -> list[Path]:
    declared = _declared(folder)
    if declared:
        if configuration is None:
            if len(declared) > 1:
                raise InputError(
                    f"{folder} has several configurations; choose one as {folder}:NAME. {_names(declared)}"
                )
            configuration = next(iter(declared))
        if configuration not in declared:
            raise unknown(f"configuration of {folder}", configuration, declared)
        if split not in declared[configuration]:
            raise unknown(f"split of {folder}:{configuration}", split, declared[configuration])
        files = [file for pattern in declared[configuration][split] for file in sorted(folder.glob(pattern))]
        if not files:
            raise InputError(f"{folder}:{configuration}: its declared file is missing from the folder.")
        return files
    found = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix in SUFFIXES}
    if not found:
        raise InputError(f"{folder}: no {', '.join(SUFFIXES)} file in this folder.")
    if configuration is not None:
        if configuration not in found:
            raise unknown(f"file of {folder}", configuration, found)
        return [found[configuration]]
    if len(found) > 1:
        raise InputError(f"{folder} has several files; choose one as {folder}:NAME. {_names(found)}")
    return list(found.values())


def _names(names: Mapping[str, Any]) -> str:
    return f"Known: {', '.join(sorted(names))}."


def read_file(path: Path) -> list[dict[str, Any]]:
    """Read one JSON, JSON Lines, CSV or Parquet file into records.

    Raises:
        InputError: Unreadable, truncated or malformed; the message names the line where there is one.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: not a format we read. Use {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path).to_pylist()
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}).") from error
    except OSError as error:  # pyarrow's ArrowInvalid is a ValueError, handled below
        raise InputError(f"{path}: cannot be read ({error}).") from error
    except ValueError as error:
        raise InputError(f"{path}: not a whole Parquet file ({error}).") from error
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines(keepends=True)))
    return _read_json(path, text)


def _read_json(path: Path, text: str) -> list[dict[str, Any]]:
    """A JSON array, one object, or JSON Lines (which TOFU's `.json` files are)."""
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith("["):
        try:
            records = json.loads(stripped)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}: broken or truncated JSON at line {error.lineno}: {error.msg}.") from error
    else:
        try:
            records = [json.loads(stripped)]
        except json.JSONDecodeError:
            records = [_read_line(path, n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for n, record in enumerate(records):
        if not isinstance(record, dict):
            raise InputError(f"{path}, row {n}: a row must be an object with columns, not {type(record).__name__}.")
    return records


def _read_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line.lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: broken or truncated JSON at line {number}: {error.msg}.") from error


def _from_hub(source: str, configuration: str | None, split: str) -> list[dict[str, Any]]:
    """Load from the Hub through a temporary cache: what must be forgotten is not left behind in a cache folder."""
    from datasets import load_dataset

    with tempfile.TemporaryDirectory(prefix="expunge-") as cache:
        try:
            return list(load_dataset(source, configuration, split=split, cache_dir=cache, keep_in_memory=True))
        except Exception as error:  # the client raises a dozen unrelated types for "not found" and "no network"
            name = ":".join(part for part in (source, configuration, split) if part)
            raise InputError(f"{name}: neither a local file or folder nor readable from the Hub ({error}).") from error
