"""A run from recipe to run directory: everything is written beside the final place and moved there when whole."""

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from expunge.data.load import load_rows
from expunge.errors import InputError, NonFiniteLoss
from expunge.files import write_json
from expunge.models import fingerprint, fingerprint_json, fingerprint_rows, load_model, resolve_folder
from expunge.runs import CACHES, CHECKPOINT, ENVIRONMENT, RECIPE, UNFINISHED_SUFFIX, unfinished, weights_in
from expunge.training.batching import load_refusals
from expunge.training.checkpoints import last_whole_checkpoint
from expunge.training.config import UnlearningConfig, convert_options
from expunge.training.memory import available_bytes, in_words
from expunge.training.recipe import Recipe, read_recipe
from expunge.training.trainer import UnlearningTrainer


def unlearn(recipe: Recipe, out: str | Path, resume: bool = False, quiet: bool = False) -> Path:
    """Unlearn as a recipe says; `out` appears when all of it is there.

    Args:
        recipe: Model, sets, objective, settings.
        out: The run directory to make.
        resume: Continue the unfinished run of the same recipe, from its last whole checkpoint.
        quiet: No progress bars and no memory plan.

    Raises:
        InputError: Unusable input; nothing is left behind.
        NonFiniteLoss: The guard stopped the run; its last good checkpoint is kept in `<out>.unfinished`.
    """
    with places(recipe, Path(out), resume):
        return execute(recipe, Path(out), resume, quiet)


@contextmanager
def places(recipe: Recipe, out: Path, resume: bool) -> Iterator[None]:
    """Refuse to overwrite anything, and clean up after input that could not be used.

    Raises:
        InputError: A run is there already, finished or not, or the unfinished one is of another recipe.
    """
    if out.exists():
        raise InputError(f"{out} already exists. Choose another --out, or remove it first.")
    if out.name.endswith(UNFINISHED_SUFFIX):
        raise InputError(
            f"{out}: give the name of the run when it is finished, --out {out.name.removesuffix(UNFINISHED_SUFFIX)}."
        )
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"--out {out}: {there} is {'not a folder' if there.is_file() else 'read-only'}.")
    work = unfinished(out)
    fresh = not work.exists()
    if not fresh and not resume:
        raise InputError(f"{work} holds an unfinished run. Continue it with --resume, or remove it first.")
    file = work / RECIPE
    if file.is_file() and read_recipe(file, {}).resolved() != recipe.resolved():
        raise InputError(f"{work} was started with another recipe (see {file}); --resume needs the same one.")
    try:
        yield
    except InputError:
        if fresh:
            shutil.rmtree(work, ignore_errors=True)
        raise


def execute(recipe: Recipe, out: Path, resume: bool, quiet: bool) -> Path:
    """The run itself, in each process that takes part in it; see `unlearn`."""
    recipe, work = recipe.resolved(), unfinished(out)
    trainer = _trainer(recipe, work, quiet)
    main = trainer.is_world_process_zero()
    environment = _environment(recipe, trainer)
    if main:
        recipe.write(work / RECIPE)
        if not quiet:
            print(f"expunge: {in_words(trainer.memory_shape(), available_bytes(trainer.args.device))}", file=sys.stderr)
    started = time.time()
    try:
        trainer.train(resume_from_checkpoint=resume)
    except NonFiniteLoss as error:
        good = last_whole_checkpoint(work)
        kept = f"The last good checkpoint is {good}." if good else "No checkpoint had been written yet."
        raise NonFiniteLoss(f"{error} {kept} Lower train.learning_rate or the forget weight.") from error
    trainer.save_model(str(weights_in(work, adapter=recipe.lora is not None)))
    if main:
        environment["seconds"] = round(time.time() - started, 3)
        environment["steps"] = trainer.state.global_step
        write_json(work / ENVIRONMENT, environment)
        # A tool that erases must not hoard: what the forget set left in caches and old weights goes with them.
        shutil.rmtree(work / CACHES, ignore_errors=True)
        for checkpoint in work.glob(f"{CHECKPOINT}*"):
            shutil.rmtree(checkpoint)
        work.replace(out)
    trainer.accelerator.wait_for_everyone()
    return out


def resumable_recipe(out: str | Path) -> Recipe:
    """The recipe of an unfinished run.

    Raises:
        InputError: There is no unfinished run there.
    """
    file = unfinished(Path(out)) / RECIPE
    if not file.is_file():
        raise InputError(f"{out}: there is no unfinished run to resume (no {file}).")
    return read_recipe(file, {})


def _trainer(recipe: Recipe, work: Path, quiet: bool) -> UnlearningTrainer:
    forget = load_rows(recipe.forget)
    retain = None if recipe.retain is None else load_rows(recipe.retain)
    refusals = load_refusals(recipe.idk)
    objective = recipe.build_objective()
    args = training_arguments(work, recipe.train, disable_tqdm=quiet)
    model, tokenizer = load_model(
        recipe.model,
        dtype=getattr(torch, recipe.dtype),
        device=args.device,
        quantization=recipe.quantization,
        trust_remote_code=recipe.trust_remote_code,
        attn_implementation=recipe.attention,
    )
    peft_config = recipe.lora.peft_config() if recipe.lora else None
    if peft_config is not None:
        peft_config.base_model_name_or_path = resolve_folder(recipe.model)
    return UnlearningTrainer(model, args, forget, retain, tokenizer, peft_config, refusals, objective)


def training_arguments(folder: Path, options: dict[str, Any], **defaults: Any) -> UnlearningConfig:
    """`UnlearningConfig` from `train.KEY=VALUE` options; the errors of transformers become errors of the user's."""
    try:
        return UnlearningConfig(output_dir=str(folder), **{**defaults, **convert_options(options)})
    except (ValueError, ImportError) as error:
        raise InputError(f"train options: {error}") from error


def _environment(recipe: Recipe, trainer: UnlearningTrainer) -> dict[str, Any]:
    """What a reader needs to run it again, and to know that it was this model and these rows."""
    packages = ("expunge", "torch", "transformers", "peft", "accelerate", "datasets")
    rows = trainer.encoded.sources
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "platform": platform.platform(),
        "device": str(trainer.args.device),
        "processes": trainer.args.world_size,
        "seed": trainer.args.seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "fingerprints": {
            "target_model": fingerprint(trainer.model),
            "forget": fingerprint_rows(rows.forget),
            "retain": fingerprint_rows(rows.retain),
            "recipe": fingerprint_json(recipe.model_dump()),
        },
        "rows": {"forget": len(rows.forget), "retain": len(rows.retain)},
        "train": {
            key: value
            for key, value in json.loads(trainer.args.to_json_string()).items()
            if key in ("learning_rate", "num_train_epochs", "lr_scheduler_type", "optim", "weight_decay")
        },
    }
