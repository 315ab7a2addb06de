"""A model that is no folder here: a name on the Hub, or a mistyped path? Answered before anything is loaded."""

import re
from difflib import get_close_matches
from pathlib import Path

from transformers.utils.hub import has_file

from expunge.errors import InputError

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # `name` or `org/name`
MARKS = ("config.json", "adapter_config.json")  # a model's repository has one of them


def check_hub_name(text: str) -> str:
    """The name of a model that is on the Hub or in its cache.

    Loading by a name that is not there would ask the Hub again and again for half a minute or more.

    Raises:
        InputError: It is a path, or there is no such model; with the folders here of nearly the same name.
    """
    path = Path(text)
    if path.is_file():
        raise InputError(
            f"{text}: is a file; a model is a folder, with config.json, safetensors and a tokenizer in it."
        )
    try:
        if NAME.fullmatch(text) and any(has_file(text, mark, local_files_only=True) for mark in MARKS):
            return text
    except ValueError:  # a path such as ./model: no name that the Hub allows
        pass
    if path.exists() or not NAME.fullmatch(text) or text.startswith(".") or ("/" in text and path.parent.is_dir()):
        raise InputError(f"{text}: no such model folder.{_near(path)}")
    try:
        there = any(has_file(text, mark) for mark in MARKS)
    except (OSError, ValueError) as error:  # no such repository, a gated one, or not a name
        raise InputError(
            f"{text}: no such model folder, and on the Hub: {str(error).splitlines()[0]}{_near(path)}"
        ) from error
    if not there:
        raise InputError(
            f"{text}: no such model folder, and no model of that name in the Hub's cache or on the Hub, as far as it "
            f"can be reached.{_near(path)}"
        )
    return text


def _near(path: Path) -> str:
    """Paths that there are, but for a name in them that is nearly the same."""
    missing = next(part for part in (path, *path.parents) if part.parent.is_dir())
    folders = [entry.name for entry in missing.parent.iterdir() if entry.is_dir()]
    near = [missing.parent / name / path.relative_to(missing) for name in get_close_matches(missing.name, folders, n=3)]
    found = [str(place) for place in near if place.is_dir()]
    return f" Did you mean {' or '.join(found)}?" if found else ""
