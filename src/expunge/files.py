"""Writing whole files or none: results appear under their name only when complete. Modes follow the umask."""

import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml


@contextmanager
def whole_file(path: str | Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there when the block ends well, delete it when it does not.

    Args:
        path: Where the file is to be.
        mode: Of the file from its first moment on, less what the umask takes.
    """
    part = _beside(Path(path))
    mode = _create(part, mode)
    try:
        yield part
        part.chmod(mode)  # safetensors puts a private file in its place
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it replaces `path` when the block ends well, and is deleted otherwise."""
    path = Path(path)
    part = _beside(path)
    part.mkdir()
    try:
        yield part
        follow_umask(part)
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def follow_umask(folder: Path) -> None:
    """Give the weights in a folder the mode that the umask asks for: safetensors makes private files."""
    probe = _beside(folder / "mode")
    mode = _create(probe, 0o666)
    probe.unlink()
    for file in folder.rglob("*.safetensors"):
        file.chmod(mode)


def _create(path: Path, mode: int) -> int:
    """Make an empty file; returns the mode that the umask left."""
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all. NaN and infinity are refused: they are not JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def write_jsonl(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records as JSON Lines."""
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    with whole_file(path) as part:
        part.write_text("".join(lines), encoding="utf-8", newline="\n")


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text; no tag can make anything else of it.

    Raises:
        yaml.YAMLError: It is not YAML, or a value is not of its type: a 13th month, bits that are no bits, whatever
            PyYAML raises then.
    """
    try:
        return yaml.safe_load(text)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error
