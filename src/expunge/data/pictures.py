"""Pictures of rows: read as the files that they are, whole or refused, and put where they stand in a conversation."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMN = "image"


@dataclass(frozen=True)
class Picture:
    """A picture of a turn.

    Attributes:
        data: A PNG, JPEG or other image file.
        at: The character of the turn's text before which it stands.
    """

    data: bytes
    at: int = 0

    @cached_property
    def digest(self) -> str:
        """Hash of the file; not salted."""
        return digest(self.data)


def digest(data: bytes) -> str:
    """Hash of a picture's file; not salted."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def opened_picture(data: bytes) -> Image:
    """The picture that a file holds, in colours."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def read_picture(value: Any, where: str, home: Path | None) -> Picture:
    """A picture given as bytes, as a path, or as `datasets` writes one: {"bytes", "path"}.

    Args:
        value: One of these.
        where: What to call it in errors.
        home: The folder that paths start from, beside the current one.

    Raises:
        InputError: There is no such file, or it is no whole picture.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str):
        value = _read(value, where, home)
    if not isinstance(value, bytes):
        raise InputError(f"{where}: a picture must be given as bytes, as a path or as {{'bytes', 'path'}}.")
    try:
        opened_picture(value)
    except ImportError as error:
        raise InputError(f"{where}: rows with pictures need Pillow: pip install 'expunge[images]'.") from error
    except Exception as error:  # whatever a broken file makes a decoder raise
        raise InputError(f"{where}: its picture cannot be read ({error}).") from error
    return Picture(value)


def _read(path: str, where: str, home: Path | None) -> bytes:
    places = [Path(path)] if home is None else [home / path, Path(path)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise InputError(f"{where}: there is no picture {path!r}.")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{where}: the picture {path!r} cannot be read ({error}).") from error


def spoken(messages: Sequence[Any], own: list[Picture], where: str, home: Path | None) -> list[Any]:
    """Messages with their parts, {"type": "text"} or {"type": "image"}, made into text and the pictures in it.

    Args:
        messages: As a file has them.
        own: The row's pictures, which image parts without one of their own take, in order; emptied by them.
        where: What to call the row in errors.
        home: The folder that paths start from.

    Raises:
        InputError: A part is neither, or its picture cannot be read.
    """
    return [
        {"role": message.get("role"), **_joined(message["content"], own, f"{where}: turn {i}", home)}
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        else message
        for i, message in enumerate(messages)
    ]


def _joined(parts: list[Any], own: list[Picture], where: str, home: Path | None) -> dict[str, Any]:
    text, pictures = "", []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            text += part["text"]
            continue
        if kind != COLUMN:
            raise InputError(f"{where}: a part must be {{'type': 'text', 'text'}} or {{'type': 'image'}}.")
        given = next((part[name] for name in (COLUMN, "bytes", "path") if part.get(name) is not None), None)
        if given is None and not own:
            raise InputError(f"{where}: an image part without a picture, and none is left in the column 'image'.")
        picture = own.pop(0) if given is None else read_picture(given, where, home)
        pictures.append(Picture(picture.data, len(text)))
    return {"content": text, "pictures": tuple(pictures)}


def pieces(text: str, pictures: Sequence[Picture]) -> Iterator[str | Picture]:
    """A turn's text and pictures in the order in which they stand; no piece of text is empty."""
    done = 0
    for picture in pictures:
        if text[done : picture.at]:
            yield text[done : picture.at]
        yield picture
        done = max(done, picture.at)
    if text[done:]:
        yield text[done:]
