"""Refusal templates: what a model says in place of what it forgot."""

from importlib.resources import files
from pathlib import Path

from expunge.errors import InputError


def load_refusals(path: str | Path | None = None) -> list[str]:
    """Read refusal templates, one a line; without a path, the hundred that come with expunge.

    Raises:
        InputError: The file is missing, not text, or has no lines.
    """
    if path is None:
        text = files("expunge.training.batching").joinpath("refusals.txt").read_text(encoding="utf-8")
    else:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as a file of refusals, one a line ({error}).") from error
    # White space at the ends, a newline above all, would come between the answer and its end-of-turn token.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: no refusals in it; write one a line.")
    return lines
