"""What a run records: its recipe, and the environment it ran in, with fingerprints of all it used."""

import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from peft import LoraConfig, PeftModel

from expunge.custom import custom_code
from expunge.data import PromptStyle
from expunge.errors import InputError
from expunge.files import parse_yaml, write_json
from expunge.models import (
    fingerprint_code,
    fingerprint_json,
    fingerprint_rows,
    fingerprint_tokenizer,
    salted_digest,
)
from expunge.objectives import Objective
from expunge.runs import CHOICE, ENVIRONMENT, RECIPE
from expunge.training.config import UnlearningConfig, spelt_out
from expunge.training.recipe import Lora, Recipe, custom_names, spelt_objective, spelt_style

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

# Rooms of expunge and libraries that the weights depend on.
CODE = ("data", "models", "objectives", "training")
LIBRARIES = ("torch", "transformers", "peft", "accelerate")
PACKAGES = ("expunge", "datasets", *LIBRARIES)
# Settings that are about this process, or change no number.
DISPLAY = ("output_dir", "disable_tqdm", "report_to", "run_name", "log_level")
SAVING = ("save_strategy", "save_steps", "save_total_limit", "save_only_model")
KEPT_SETTINGS = ("learning_rate", "num_train_epochs", "lr_scheduler_type", "optim", "weight_decay")


def recipe_in_python(
    args: UnlearningConfig,
    objective: Objective,
    model: Any,
    adapter: Any,
    style: PromptStyle,
    given: Mapping[str, Any],
) -> Recipe:
    """The recipe of a run that was set up in Python, as far as it can be written down.

    Args:
        args: Its settings.
        objective: Its objective.
        model: To be trained, with an adapter perhaps.
        adapter: The configuration of a new adapter, if there is one.
        style: How conversations are written.
        given: What `model`, `forget`, `retain`, `idk` and `reference` were given as: places, rows, or a loaded model.
    """
    train = {k: v for k, v in args.given.items() if k not in (*DISPLAY, "objective", "objective_options")}
    return Recipe.model_construct(
        None,
        **{name: _place(value) for name, value in given.items()},
        **spelt_style(style),
        objective=spelt_objective(objective),
        train={name: _plain(value) for name, value in spelt_out(train).items()},
        lora=_lora(adapter or (model.active_peft_config if isinstance(model, PeftModel) else None)),
        dtype=str(model.dtype).removeprefix("torch."),
    )


def _place(given: Any) -> str | None:
    if given is None:
        return None
    if isinstance(given, (str, Path)):
        return str(given) or "given in Python"
    return f"{len(given)} rows given in Python" if isinstance(given, Sequence) else "given in Python"


def _lora(config: Any) -> Lora | None:
    if not isinstance(config, LoraConfig):
        return None
    modules = config.target_modules
    return Lora(
        r=config.r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        target_modules=modules if isinstance(modules, str) else sorted(modules or ()),
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, list, dict, type(None))) else str(value)


class Evidence:
    """Writes down what a run depends on before its first step, and what became of it after the last.

    A run that is resumed must depend on the same; so what is written down at the start holds for all of its steps.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment: dict[str, Any] = {}
        self._started = time.time()

    def begin(self, trainer: "UnlearningTrainer", recipe: Recipe, checkpoint: str | None) -> None:
        """Write down what the run depends on; or, to go on from a checkpoint, compare.

        Raises:
            InputError: Something is not what it was; the message names it.
        """
        self._started = time.time()
        now = _environment(trainer, recipe)
        if (choice := self._folder / CHOICE).is_file():
            now["choice"] = _read(choice)
        if checkpoint is None:
            self._environment = now
            recipe.write(self._folder / RECIPE)
            write_json(self._folder / ENVIRONMENT, now)  # last: it says that the run has begun
            return
        before = Path(checkpoint).parent
        self._environment = _read(before / ENVIRONMENT)
        changed = [*changed_settings(before / RECIPE, recipe), *_changed_inputs(self._environment, now)]
        if changed:
            raise InputError(
                f"{self._folder} cannot be resumed: {', '.join(changed)} changed since it was started. Put back what "
                "it was started with, or start a new run."
            )

    def end(self, trainer: "UnlearningTrainer") -> None:
        """Write down how it ended: what was trained, and for how long."""
        seconds = self._environment.get("seconds", 0.0) + time.time() - self._started
        losses = trainer.changes.losses if trainer.changes else {}
        self._environment |= {"seconds": round(seconds, 3), "steps": trainer.state.global_step, "losses": losses}
        if trainer.control_levels:
            self._environment["levels"] = trainer.control_levels.means
        if trainer.anchor_fingerprint:  # loaded when the weights moved, after the run had begun
            self._environment["fingerprints"]["anchor_model"] = trainer.anchor_fingerprint
        write_json(self._folder / ENVIRONMENT, self._environment)
        (self._folder / CHOICE).unlink(missing_ok=True)


def _environment(trainer: "UnlearningTrainer", recipe: Recipe) -> dict[str, Any]:
    """What a reader needs to run it again, and to know that it was this model and these rows."""
    sources, args = trainer.encoded.sources, trainer.args
    settings = json.loads(args.to_json_string())
    fingerprints = {
        "target_model": trainer.target_fingerprint,
        "tokenizer": fingerprint_tokenizer(trainer.processing_class),
        "forget": fingerprint_rows(sources.forget),
        "retain": fingerprint_rows(sources.retain),
        "code": fingerprint_code(*CODE),
    }
    custom = {f"custom {name}": custom_code(name) for name in custom_names(recipe.objective_name)}
    fingerprints |= custom
    fingerprints["recipe"] = fingerprint_json([recipe.model_dump(), custom] if custom else recipe.model_dump())
    if sources.refusals:
        fingerprints["refusals"] = salted_digest("\n".join(sources.refusals))
    if trainer.other_reference:
        fingerprints["reference_model"] = trainer.other_reference
    if trainer.holdout:
        fingerprints["holdout"] = fingerprint_rows(trainer.holdout)
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "platform": platform.platform(),
        "device": str(args.device),
        "processes": args.world_size,
        "seed": args.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fingerprints": fingerprints,
        "rows": {"forget": len(sources.forget), "retain": len(sources.retain)},
        "train": {key: settings[key] for key in KEPT_SETTINGS},
    }


def _changed_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Names of the inputs, and of libraries, that are not what they were."""
    names = {
        "target_model": "the target model's weights",
        "tokenizer": "the tokenizer",
        "forget": "the forget rows",
        "retain": "the retain rows",
        "refusals": "the refusals",
        "holdout": "the holdout rows",
        "reference_model": "the reference model's weights",
        "code": "expunge's own code",
    }
    old, new = before["fingerprints"], now["fingerprints"]
    for key in sorted((old.keys() | new.keys()) - {"recipe"}):
        if old.get(key) != new.get(key):
            yield names.get(key, f"the file of {key.removeprefix('custom ')}")
    for library in LIBRARIES:
        if (was := before["versions"].get(library)) != (is_ := now["versions"][library]):
            yield f"{library} (was {was}, is {is_})"


def changed_settings(file: Path, recipe: Recipe) -> Iterator[str]:
    """Names of settings whose values are not those of a recipe file, with both values; but for when to save.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        before, now = _flat(parse_yaml(file.read_text(encoding="utf-8"))), _flat(recipe.model_dump())
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise InputError(
            f"{file}: the recipe of the unfinished run cannot be read ({error}). Start it again."
        ) from error
    for key in sorted((before.keys() | now.keys()) - {f"train.{name}" for name in (*DISPLAY, *SAVING)}):
        if before.get(key) != now.get(key):
            yield f"{key} (was {before.get(key)}, is {now.get(key)})"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: what the run was started with cannot be read ({error}), so it cannot be resumed. Start it again."
        ) from error
