"""The recipes that come with expunge; without the libraries that it takes to run one."""

from importlib.resources import files
from importlib.resources.abc import Traversable


def shipped_recipes() -> dict[str, Traversable]:
    """The files of the recipes, by name."""
    found = (file for file in files("expunge").joinpath("recipes").iterdir() if file.name.endswith(".yaml"))
    return {file.name.removesuffix(".yaml"): file for file in sorted(found, key=lambda file: file.name)}
