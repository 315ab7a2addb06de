"""A recipe: all that a run depends on, in one YAML file."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from expunge.custom import is_custom, load_custom
from expunge.data.style import PromptStyle
from expunge.errors import InputError, unknown
from expunge.files import parse_yaml, whole_file
from expunge.objectives import Objective, Term, build_objective
from expunge.shipped import shipped_recipes

SECTIONS = ("objective", "train", "lora")  # of options on the command line


def _plain_date(value: Any) -> Any:
    """YAML reads 2025-04-10 as a date."""
    return value.isoformat() if isinstance(value, date) else value


class Lora(BaseModel):
    """Train an adapter of this shape instead of all weights; r and alpha as in TOFU's released configuration."""

    model_config = ConfigDict(extra="forbid")

    r: int = Field(8, gt=0)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"

    def peft_config(self) -> Any:
        """As PEFT's LoraConfig."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.r,
            lora_alpha=cast(int, self.alpha),  # PEFT divides it by r, and needs no whole number
            lora_dropout=self.dropout,
            target_modules=self.target_modules,
            task_type="CAUSAL_LM",
        )


class Recipe(BaseModel):
    """What to unlearn from what, and how.

    `objective` is a name, or a mapping with `name` and options (`beta`, `AP.beta`, `forget_weight`, ...). `train` takes
    every field of `UnlearningConfig`. `reference` is the frozen model to compare with where that is not `model`.
    `anchor` and `holdout` are for the objective RESET: the model towards which it moves the weights, or `fresh`, and
    rows never trained on, from which it takes its level.

    `dtype` is that of the weights: in bfloat16 most updates of a published size are rounded away, so float32 unless
    memory forbids it. `quantization` holds the frozen weights below an adapter in 4 bits (nf4) or 8 (int8).
    `attention` is transformers' `attn_implementation`; with flash attention on a GPU, rows are run without padding, as
    on the CPU. `template`, `system` and `date` say how conversations are written (see `PromptStyle`); what is not given
    is as the target model's folder remembers it.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1)
    forget: str = Field(min_length=1)
    retain: str | None = None
    idk: str | None = None
    reference: str | None = None
    anchor: str | None = None
    holdout: str | None = None
    objective: str | dict[str, Any] = "NPO+GD"
    train: dict[str, Any] = Field(default_factory=dict)
    lora: Lora | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    quantization: Literal["nf4", "int8"] | None = None
    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] | None = None
    trust_remote_code: bool = False
    template: str | None = None
    system: str | None = None
    date: Annotated[str | None, BeforeValidator(_plain_date)] = None

    @property
    def objective_name(self) -> str:
        """The objective's name.

        Raises:
            InputError: It has none.
        """
        name = self.objective if isinstance(self.objective, str) else self.objective.get("name")
        if not isinstance(name, str):
            raise InputError("objective: needs a name, e.g. {name: NPO+GD, beta: 0.1}.")
        return name

    def build_objective(self) -> Objective:
        """The objective with its options applied; runs the files of custom terms."""
        options = {} if isinstance(self.objective, str) else {k: v for k, v in self.objective.items() if k != "name"}
        built = objective_of(self.objective_name, options)
        if self.reference and not built.uses_reference:
            raise InputError(f"reference: {built.name} compares with no reference model, so it would be ignored.")
        return built

    def prompt_style(self) -> PromptStyle:
        """How conversations are written: as given, else as the target model's folder remembers it."""
        from expunge.models import kept_style

        return (kept_style(self.model) or PromptStyle()).updated(self.template, self.system, self.date)

    def resolved(self) -> "Recipe":
        """The same recipe with every weight, hyper-parameter and main training setting spelt out."""
        from expunge.training.config import spelt_out

        spelt = {"objective": spelt_objective(self.build_objective()), "train": spelt_out(self.train)}
        return self.model_copy(update=spelt | spelt_style(self.prompt_style()))

    def write(self, path: Path) -> None:
        """Write as YAML."""
        with whole_file(path) as part:
            part.write_text(yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def objective_of(name: str | Term | Objective, options: Mapping[str, Any]) -> Objective:
    """The objective of a name, which may hold custom terms (`file.py:Term+GD`), whose files are run; or of a term.

    Raises:
        InputError: An unknown name, a file that cannot be run, or an option that cannot be used.
    """
    if not isinstance(name, str):
        return build_objective(name, options)
    custom = {word: _custom(word) for word in custom_names(name)}
    if isinstance(whole := custom.get(name), Objective):
        return build_objective(replace(whole, name=name), options)
    return build_objective(name, options, custom)


def custom_names(objective: str) -> list[str]:
    """The custom terms that an objective's name holds, as `file.py:Term`."""
    return [word for word in (word.strip() for word in objective.split("+")) if is_custom(word)]


def _custom(word: str) -> Any:
    found = load_custom(word)
    if isinstance(found, type) and issubclass(found, Term):
        try:
            found = found()
        except TypeError as error:
            raise InputError(f"{word}: every hyper-parameter of a term needs a default ({error}).") from error
    if not isinstance(found, (Term, Objective)):
        raise InputError(f"{word}: is neither a Term nor an Objective of expunge.objectives.")
    return found


def spelt_objective(objective: Objective) -> dict[str, Any]:
    """An objective's name with every weight and hyper-parameter, as plain values for YAML."""
    spelt: dict[str, Any] = {"name": objective.name}
    for part in objective.terms:
        spelt[f"{part.name}.weight"] = part.weight
        values = {field.name: getattr(part.term, field.name) for field in fields(part.term)}
        spelt |= {f"{part.name}.{k}": list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return spelt


def spelt_style(style: PromptStyle) -> dict[str, Any]:
    """The keys of a recipe that say how conversations are written."""
    return {"template": style.template_or_name, "system": style.system or "", "date": style.date}


def read_recipe(path: str | Path | None, overrides: dict[str, Any]) -> Recipe:
    """Read a recipe and override it with options.

    Args:
        path: The YAML file, the name of a recipe that comes with expunge, or None for options alone.
        overrides: Values by dotted key: `model`, `objective.beta`, `train.learning_rate`, `lora.r`.

    Raises:
        InputError: The file cannot be read, or a key or value is wrong; the message names it.
    """
    values = read_mapping(path) if path is not None else {}
    return recipe_of(overridden(values, overrides), str(path or "recipe"))


def overridden(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values with options over them, by dotted key; options of a section leave its others as they are."""
    values = dict(values)
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if not name:
            values[section] = value
            continue
        held = values.get(section)
        if section == "objective" and isinstance(held, str):
            held = {"name": held}
        values[section] = {**(held or {}), name: value}
    return values


def recipe_of(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe of plain values, checked as far as that goes before anything is loaded.

    Args:
        values: By key, as in the file.
        where: What to name in errors.

    Raises:
        InputError: A key or value is wrong; the message names it.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise explained(where, error, Recipe) from error
    if recipe.quantization and recipe.lora is None:
        raise InputError(f"{where}: quantized weights cannot be trained; quantization needs an adapter, e.g. lora.r=8.")
    if not custom_names(recipe.objective_name):  # a custom file is run where the recipe is
        recipe.build_objective()
    check_train_options(recipe.train)
    PromptStyle().updated(recipe.template, recipe.system, recipe.date)
    return recipe


def check_train_options(options: dict[str, Any]) -> None:
    """Refuse misspelt or unusable `train` options before anything is loaded."""
    from expunge.training.config import convert_options

    convert_options(options)


def split_words(words: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """The recipe among the words of a command, if there is one, and the options.

    A recipe is a file or the name of one that comes with expunge: a word without "=" that does not begin as an option.

    Raises:
        InputError: Two recipes, or an option that cannot be read.
    """
    recipes = [word for word in words if "=" not in word and word.partition(".")[0] not in SECTIONS]
    if len(recipes) > 1:
        raise InputError(f"Two recipes, {recipes[0]} and {recipes[1]}: give one, and options as SECTION.KEY=VALUE.")
    return recipes[0] if recipes else None, parse_overrides([word for word in words if word not in recipes])


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Turn `objective.beta=0.1 train.learning_rate=1e-5` into values by dotted key.

    Raises:
        InputError: A word without "=", or a key of an unknown section.
    """
    values = {}
    for word in words:
        key, equals, value = word.partition("=")
        section = key.partition(".")[0]
        if not equals or "." not in key:
            raise InputError(f"{word!r}: expected SECTION.KEY=VALUE, e.g. train.learning_rate=1e-5.")
        if section not in SECTIONS:
            raise unknown("section of options", section, SECTIONS)
        try:
            values[key] = parse_yaml(value)
        except yaml.YAMLError as error:
            raise InputError(f"{word!r}: the value cannot be read ({error}).") from error
    return values


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The values of a YAML file, or of a recipe that comes with expunge, unchecked.

    Raises:
        InputError: There is none, or it cannot be read as a mapping.
    """
    source: Traversable | Path = Path(path)
    known = shipped_recipes()
    if not Path(path).exists() and Path(path).suffix not in (".yaml", ".yml"):
        if str(path) not in known:
            raise unknown("recipe (no such file, and none that comes with expunge)", str(path), known)
        source = known[str(path)]
    try:
        values = parse_yaml(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the recipe cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path}: the recipe is not YAML ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping with the keys {', '.join(Recipe.model_fields)}.")
    return values


def explained(where: str, error: ValidationError, kind: type[BaseModel]) -> InputError:
    """What is wrong with the values of a recipe, or of a file that has a recipe's keys and others."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = Lora.model_fields if path.startswith("lora.") else kind.model_fields
        return InputError(f"{where}: {unknown('key', path.rpartition('.')[2], fields)}")
    if first["type"] == "missing":
        by_option = f" or as --{path}" if kind is Recipe else ""
        return InputError(f"{where}: {path!r} is missing. Give it in the recipe{by_option}.")
    return InputError(f"{where}: {path}: {first['msg'].lower()}.")
