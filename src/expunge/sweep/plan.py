"""A sweep's file: a recipe, what varies in it, and how the models are measured; and the runs that follow from it."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from expunge.attacks import ATTACKS
from expunge.errors import InputError, unknown
from expunge.evaluation import JudgeModels, Questions
from expunge.evaluation.judges import parse_classifiers
from expunge.evaluation.suites import find_suite
from expunge.limits import Count, Seed
from expunge.models import fingerprint_json
from expunge.objectives.reset import RESET
from expunge.training.recipe import SECTIONS, Recipe, explained, overridden, read_mapping, recipe_of

SHARED = ("model", "forget", "template", "system", "date", "trust_remote_code")
"""Keys of a recipe that are the same in every run: the target model is measured once, on the same rows."""
LONGEST_NAME = 120  # of a run's folder; file systems take 255 bytes


class Sweep(Recipe):
    """A recipe, what varies in it, and how the models are measured.

    Attributes:
        name: of the study; where several share a database, each needs one.
        objectives: names, or mappings with options, as `objective`.
        grid: values by dotted key of a recipe; each combination is tried with each objective.
        runs: more to try, each a mapping of a recipe's keys over the file's own, with a `name` if it shall have one.
        seeds: of training and attacks; everything is done once with each.
        suite: as for `expunge eval`, like the keys that follow.
        retain_model: trained without the forget set.
        classifier: NAME=MODEL:LABEL.
        attacks: names of `expunge attack`, tried on every model.
        quick: attack with fewer settings and samples.
        keep: whether a run's weights stay once it is measured.
    """

    name: Annotated[str, Field(min_length=1)] = "sweep"
    objectives: list[str | dict[str, Any]] = Field(default_factory=list)
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    runs: list[dict[str, Any]] = Field(default_factory=list)
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [42])
    suite: str = "tofu"
    data: str | None = None
    forget_split: str | None = None
    retain_model: str | None = None
    embedding_model: str | None = None
    nli_model: str | None = None
    classifier: list[str] = Field(default_factory=list)
    reward_model: str | None = None
    fluency_model: str | None = None
    batch_tokens: Count | None = None
    precision: Literal["float32", "bfloat16", "auto"] = "float32"
    attacks: list[str] = Field(default_factory=list)
    quick: bool = False
    keep: Literal["none", "weights"] = "none"

    def questions(self) -> Questions:
        """What every model is asked; suite `own` takes the recipe's own rows where no data is named.

        Raises:
            InputError: no such suite.
        """
        suite = find_suite(self.suite)
        has_holdout = any(spec.name == "holdout" for spec in getattr(suite, "sets", ()))
        holdout, data = self.holdout if has_holdout else None, self.data
        style = {"template": self.template, "system": self.system, "date": self.date}
        if data is None and self.suite == "own":
            sets = {"forget": self.forget, "retain": self.retain, "holdout": holdout}
            return Questions("own", {name: spec for name, spec in sets.items() if spec is not None}, **style)
        return Questions(self.suite, data, self.forget_split, holdout, **style)

    def judges(self) -> JudgeModels:
        """The models that judge outputs."""
        return JudgeModels(
            self.embedding_model,
            self.nli_model,
            parse_classifiers(self.classifier),
            self.reward_model,
            self.fluency_model,
        )


@dataclass(frozen=True)
class Method:
    """What is tried with every seed: a name, and the values that differ from the file's own recipe."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        method: what is tried, seeds aside.
        seed: of training and attacks.
        recipe: what is run.
        settings: what of it varies in the sweep, by dotted key.
        key: digest of all that its numbers depend on in the file.
    """

    name: str
    method: str
    seed: int
    recipe: Recipe
    settings: Mapping[str, Any]
    key: str


def read_sweep(file: str | Path) -> tuple[Sweep, list[Run]]:
    """Read a sweep's file, and plan its runs.

    Raises:
        InputError: the file cannot be read, or a key or value is wrong; the message names it.
    """
    try:
        plan = Sweep.model_validate(read_mapping(file))
    except ValidationError as error:
        raise explained(str(file), error, Sweep) from error
    return plan, planned_runs(plan, str(file))


def planned_runs(plan: Sweep, where: str = "sweep") -> list[Run]:
    """Every method with every seed, seed after seed, so that a sweep that is stopped has tried all methods alike.

    Args:
        plan: the sweep.
        where: what to name in errors.

    Raises:
        InputError: something in the file cannot be used.
    """
    _check(plan, where)
    methods = list(_methods(plan, where))
    names = [method.name for method in methods]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{where}: {twice!r} is there twice. Give the runs names: - {{name: ..., ...}}.")
    given = plan.model_dump(include=set(Recipe.model_fields))
    measured = plan.model_dump(include=set(Sweep.model_fields) - {*Recipe.model_fields, *VARYING, "keep", "name"})
    runs = []
    for seed, method in itertools.product(plan.seeds, methods):
        values = overridden(given, {**method.values, "train.seed": seed})
        recipe = recipe_of(values | {"holdout": None}, f"{where}: {method.name}")
        if plan.holdout and any(isinstance(part.term, RESET) for part in recipe.build_objective().terms):
            recipe = recipe.model_copy(update={"holdout": values["holdout"]})
        key = fingerprint_json([recipe.model_dump(), measured, plan.holdout])
        settings = {name: value for name, value in method.values.items() if name != "objective"}
        runs.append(Run(_folder(method.name, seed, key), method.name, seed, recipe, settings, key))
    folders = [run.name for run in runs]
    if same := next((name for name in folders if folders.count(name) > 1), None):
        raise InputError(f"{where}: two runs would have the folder {same}. Give them names that differ in letters.")
    return runs


VARYING = ("objectives", "grid", "runs", "seeds")


def _check(plan: Sweep, where: str) -> None:
    if len(set(plan.seeds)) < len(plan.seeds):
        raise InputError(f"{where}: seeds: one of {plan.seeds} is there twice, and would give the same numbers twice.")
    if plan.objectives and "objective" in plan.model_fields_set:
        raise InputError(f"{where}: give either objective or objectives.")
    for key in (*plan.grid, *(f"train.{name}" for name in plan.train)):
        if key == "train.seed":
            raise InputError(f"{where}: {key}: give the seeds as seeds: [0, 1, 2].")
    for name in plan.attacks:
        if name not in ATTACKS:
            raise unknown(f"attack in {where}", name, list(ATTACKS))
    plan.questions()
    plan.judges()


def _methods(plan: Sweep, where: str) -> Iterator[Method]:
    """The product of objectives and grid, then the runs that are listed."""
    if plan.objectives or plan.grid or not plan.runs:
        for objective in plan.objectives or [plan.objective]:
            for combination in itertools.product(*plan.grid.values()):
                varied = dict(zip(plan.grid, map(_number, combination), strict=True))
                yield _method(plan, None, {"objective": objective} | varied, f"{where}: grid")
    for number, entry in enumerate(plan.runs):
        values = dict(entry)
        name = values.pop("name", None)
        if name is not None and not (isinstance(name, str) and name.strip()):
            raise InputError(f"{where}: runs[{number}]: name: {name!r} is no text.")
        yield _method(plan, name, dict(_flat(values)), f"{where}: runs[{number}]")


def _method(plan: Sweep, name: str | None, values: dict[str, Any], where: str) -> Method:
    for key in values:
        if key in SHARED:
            raise InputError(f"{where}: {key} is the same in all runs of a sweep. Give it at the top of the file.")
        if key == "train.seed":
            raise InputError(f"{where}: {key}: give the seeds as seeds: [0, 1, 2].")
    if name is None:
        objective = values.get("objective", plan.objective)
        options = {}
        if isinstance(objective, dict):
            options = {key: value for key, value in objective.items() if key != "name"}
            objective = objective.get("name")
        told = {**options, **{key: value for key, value in values.items() if key != "objective"}}
        words = (f"{key.removeprefix('train.').removeprefix('objective.')}={_told(v)}" for key, v in told.items())
        name = " ".join([str(objective), *words])
    return Method(name, values)


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """`train: {learning_rate: 1.0e-4}` as `train.learning_rate`, so that the file's other settings stay."""
    for key, value in values.items():
        if key in SECTIONS and key != "objective" and isinstance(value, dict):
            yield from ((f"{key}.{name}", _number(inner)) for name, inner in value.items())
        else:
            yield key, _number(value)


def _number(value: Any) -> Any:
    """YAML reads 1e-4, without a point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _folder(method: str, seed: int, key: str) -> str:
    words = re.sub(r"[^\w+=.,-]+", "_", method).strip("._") or "run"
    if len(words) > LONGEST_NAME:
        words = f"{words[:LONGEST_NAME]}-{key[:8]}"
    return f"{words}-seed{seed}"
