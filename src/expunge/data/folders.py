"""Folders of rows: which files a configuration and split are, as the folder's README.md says, or by their names."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from expunge.data.formats import SUFFIXES
from expunge.errors import InputError, unknown
from expunge.files import parse_yaml

DEFAULT_SPLIT = "train"


class SplitFiles(BaseModel):
    """The files of a split, as patterns."""

    split: str
    path: str | list[str]


class Configuration(BaseModel):
    """One entry of `configs` in the front matter; `data_files` alone is the split train."""

    config_name: str
    data_files: str | list[str] | list[SplitFiles]

    def splits(self) -> dict[str, list[str]]:
        """Patterns by split."""
        files = [self.data_files] if isinstance(self.data_files, str) else self.data_files
        declared = [part for part in files if isinstance(part, SplitFiles)]
        if declared:
            return {part.split: [part.path] if isinstance(part.path, str) else part.path for part in declared}
        return {DEFAULT_SPLIT: [pattern for pattern in files if isinstance(pattern, str)]}


def folder_configurations(folder: Path) -> list[str]:
    """The names that a folder offers, sorted: declared ones, else its files'."""
    return sorted(_declared(folder) or _by_name(folder))


def folder_files(folder: Path, configuration: str | None, split: str | None) -> list[Path]:
    """The files of a configuration and split; either may be left out where there is one alone.

    Raises:
        InputError: There is no such configuration, split or file, or it is not clear which is meant.
    """
    declared = _declared(folder)
    if not declared:
        found = _by_name(folder)
        if not found:
            raise InputError(f"{folder}: no {', '.join(SUFFIXES)} file in this folder.")
        if split not in (None, DEFAULT_SPLIT):
            raise InputError(f"{folder} has no split {split!r}: its README.md declares none. Leave the split out.")
        return [found[_choose(folder, "file", configuration, found)]]
    name = _choose(folder, "configuration", configuration, declared)
    splits = declared[name].splits()
    if (split := split or DEFAULT_SPLIT) not in splits:
        raise unknown(f"split of {folder}:{name}", split, splits)
    files = [file for pattern in splits[split] for file in _matching(folder, pattern)]
    if not files:
        raise InputError(f"{folder}:{name}: its declared file is missing from the folder.")
    return files


def _choose(folder: Path, kind: str, wanted: str | None, known: Iterable[str]) -> str:
    names = sorted(known)
    if wanted is not None and wanted not in names:
        raise unknown(f"{kind} of {folder}", wanted, names)
    if wanted is None and len(names) > 1:
        raise InputError(f"{folder} has several {kind}s; choose one as {folder}:NAME. Known: {', '.join(names)}.")
    return wanted or names[0]


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix not in SUFFIXES or file.name.startswith(".") or not file.is_file():
            continue
        if file.stem in found:
            raise InputError(f"{folder}: which is {file.stem!r}, {found[file.stem].name} or {file.name}? Remove one.")
        found[file.stem] = file
    return found


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern, which may not lead out of the folder."""
    parts = PurePosixPath(pattern)
    if parts.is_absolute() or ".." in parts.parts or "\\" in pattern or "\0" in pattern or not parts.parts:
        raise InputError(f"{folder / 'README.md'}: {pattern!r} is no file of this folder. Name files inside of it.")
    return [file for file in sorted(folder.glob(pattern)) if file.is_file()]


def _declared(folder: Path) -> dict[str, Configuration]:
    """Configurations declared in the front matter of the folder's README.md, by name."""
    readme = folder / "README.md"
    if not readme.is_file():
        return {}
    try:
        front = re.match(
            r"---[ \t]*\n(.*?)^---[ \t]*$", readme.read_text(encoding="utf-8-sig"), re.DOTALL | re.MULTILINE
        )
        values: Any = (parse_yaml(front[1]) if front else None) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{readme}: its front matter, between two lines of ---, is not YAML ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{readme}: its front matter, between two lines of ---, must be a mapping.")
    try:
        entries = TypeAdapter(list[Configuration]).validate_python(values.get("configs") or [])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in ("configs", *first["loc"]))
        raise InputError(
            f"{readme}: its front matter declares no configurations at {place}: {first['msg']}."
        ) from error
    declared = {entry.config_name: entry for entry in entries}
    if len(declared) < len(entries):
        raise InputError(f"{readme}: its front matter declares a configuration twice. Rename one.")
    return declared
