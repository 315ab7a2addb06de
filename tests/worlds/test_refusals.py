"""The refusal templates that ship with the package."""

from importlib.resources import files
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2].parent / "shared/data/idontknow.txt"


def words(text: str) -> str:
    """Words alone, so that a changed comma or apostrophe does not make a new sentence."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.replace("’", "'").casefold()).split())


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def shipped() -> list[str]:
    return lines(files("expunge").joinpath("training/batching/refusals.txt").read_text(encoding="utf-8"))


def test_one_hundred_different_refusals():
    assert len(shipped()) == len({words(line) for line in shipped()}) == 100
    assert all(line.endswith(".") for line in shipped())


@pytest.mark.skipif(not SHARED.exists(), reason="the published templates are not here to compare with")
def test_none_is_a_published_template():
    assert not {words(line) for line in shipped()} & {words(line) for line in lines(SHARED.read_text("utf-8"))}
