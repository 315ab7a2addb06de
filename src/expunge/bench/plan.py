"""A leaderboard's file: that of a sweep, but methods and a search in place of what a sweep varies."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from expunge.errors import InputError
from expunge.sweep.plan import Sweep, planned_runs
from expunge.training.recipe import explained, read_mapping

SMALL: Traversable = files("expunge").joinpath("bench", "small.yaml")
"""The leaderboard on the embedded world: what `expunge bench` runs where no file is given."""
NOT_HERE = ("objective", "objectives", "grid", "runs", "keep")
"""Keys of a sweep that the protocol decides."""
FROM_WORLD = ("model", "retain_model", "forget", "retain", "data", "forget_split", "holdout")
"""Keys that a world stands for."""


class World(BaseModel):
    """An invented world (see `expunge.worlds.corpus.make_world`), which target and retain model learn on the spot."""

    model_config = ConfigDict(extra="forbid")

    people: int = Field(25, gt=1)
    forget_percent: int = Field(32, gt=0, lt=100)
    seed: int = Field(0, ge=0)
    epochs: int = Field(30, gt=0)


@dataclass(frozen=True)
class Setting:
    """One of the settings that are tried of a method.

    Attributes:
        name: of the method, and what was searched.
        values: of the recipe, over those of the file, as in a sweep's `runs`.
    """

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A line of the leaderboard.

    Attributes:
        name: shown.
        settings: that are tried with it, as many as with every other.
    """

    name: str
    settings: Sequence[Setting]


@dataclass(frozen=True)
class Bench:
    """A leaderboard.

    Attributes:
        methods: in the order of the file.
        common: the other keys, those of a sweep; without models and rows where there is a world.
        world: to be made; None where models and rows are given.
        source: the file.
    """

    methods: Sequence[Method]
    common: Mapping[str, Any]
    world: World | None
    source: str

    @property
    def seeds(self) -> list[int]:
        """Of the runs that are reported; the search has the first."""
        return self.common.get("seeds") or [42]


def read_bench(file: str | Path | None) -> Bench:
    """Read a leaderboard's file; None: the one on the embedded world.

    Raises:
        InputError: the file cannot be read, or a key or value is wrong; the message names it.
    """
    where = "the leaderboard that comes with expunge" if file is None else str(file)
    values = yaml.safe_load(SMALL.read_text(encoding="utf-8")) if file is None else read_mapping(file)
    for key in NOT_HERE:
        if key in values:
            raise InputError(
                f"{where}: {key}: a leaderboard has its own protocol. Give the methods as methods: [...], and the "
                "settings to try with each as search: {train.learning_rate: [...]}."
            )
    world = _world(values, where)
    search, entries = values.pop("search", {}), values.pop("methods", [])
    if not isinstance(entries, list) or len(entries) < 2:
        raise InputError(f"{where}: methods: a list of two or more is needed, e.g. [NPO+GD, ME+GD].")
    methods = [_method(entry, search, f"{where}: methods[{i}]") for i, entry in enumerate(entries)]
    budget = len(methods[0].settings)
    for method in methods:
        if len(method.settings) != budget:
            raise InputError(
                f"{where}: {method.name} would be tried with {len(method.settings)} settings and {methods[0].name} "
                f"with {budget}. All methods need the same search budget."
            )
    names = [method.name for method in methods]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where}: the method {twice!r} is there twice. Give them names: - {{name: ..., ...}}.")
    bench = Bench(methods, values, world, where)
    _check(bench)
    return bench


def _world(values: dict[str, Any], where: str) -> World | None:
    given = values.pop("world", None)
    if given is None:
        return None
    for key in FROM_WORLD:
        if key in values:
            raise InputError(f"{where}: {key}: the world has its own models and rows. Give either world or {key}.")
    try:
        return World.model_validate(given)
    except ValidationError as error:
        raise explained(f"{where}: world", error, World) from error


def _method(entry: Any, search: Any, where: str) -> Method:
    values = {"objective": entry} if isinstance(entry, str) else dict(entry) if isinstance(entry, dict) else {}
    objective = values.get("objective")
    name = values.pop("name", objective.get("name") if isinstance(objective, dict) else objective)
    if not isinstance(name, str) or not objective:
        raise InputError(f"{where}: needs an objective: its name, or a mapping {{objective: ..., search: ...}}.")
    tried = values.pop("search", search)
    if not isinstance(tried, dict) or not all(isinstance(each, list) and each for each in tried.values()):
        raise InputError(f"{where}: search: expected lists by dotted key, e.g. {{train.learning_rate: [1.0e-5]}}.")
    combinations = (dict(zip(tried, chosen, strict=True)) for chosen in itertools.product(*tried.values()))
    return Method(name, [Setting(" ".join((name, *map(_told, c.items()))), {**values, **c}) for c in combinations])


def _told(varied: tuple[str, Any]) -> str:
    key, value = varied
    return f"{key.rpartition('.')[2]}={value:g}" if isinstance(value, float) else f"{key.rpartition('.')[2]}={value}"


def _check(bench: Bench) -> None:
    """Refuse what no sweep could run, before anything is made; the places of a world's rows are not known yet."""
    places = dict.fromkeys(("model", "forget", "retain", "data", "forget_split", "holdout"), "-")
    runs = [{"name": s.name, **s.values} for method in bench.methods for s in method.settings]
    values = {**(places if bench.world else {}), **bench.common, "runs": runs}
    try:
        planned_runs(Sweep.model_validate(values), bench.source)
    except ValidationError as error:
        raise explained(bench.source, error, Sweep) from error
    if not values.get("data"):
        raise InputError(f"{bench.source}: data is missing: the folder or Hub id with the sets to measure on.")
