"""A run from recipe to run directory: everything is written beside the final place and moved there when whole."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from expunge.data import PromptStyle, Row, load_rows
from expunge.errors import InputError, Interrupted
from expunge.models import ModelOrPlace, load_model, resolve_folder
from expunge.objectives import Objective
from expunge.runs import CHOICE, ENVIRONMENT, LOCK, RECIPE, UNFINISHED_SUFFIX, unfinished, weights_in
from expunge.training.batching import load_refusals
from expunge.training.config import UnlearningConfig, convert_options
from expunge.training.evidence import changed_settings
from expunge.training.lock import only_process
from expunge.training.memory import available_bytes, in_words
from expunge.training.recipe import Recipe, read_recipe
from expunge.training.steps.reset import FRESH, check_anchor
from expunge.training.trainer import UnlearningTrainer


def unlearn(recipe: Recipe, out: str | Path, resume: bool = False, quiet: bool = False) -> Path:
    """Unlearn as a recipe says; `out` appears when all of it is there.

    Args:
        recipe: Model, sets, objective, settings.
        out: The run directory to make.
        resume: Continue the unfinished run of the same recipe, from its last whole checkpoint.
        quiet: No progress bars, no memory plan, no losses.

    Raises:
        InputError: Unusable input; nothing is left behind.
        Interrupted: The run can be continued.
        NonFiniteLoss: The guard stopped the run; its last good checkpoint is kept in `<out>.unfinished`.
    """
    with places(recipe, Path(out), resume):
        return execute(recipe, Path(out), resume, quiet)


@contextmanager
def places(recipe: Recipe, out: Path, resume: bool, hold: bool = True) -> Iterator[None]:
    """Keep the run's folder to this process, refuse to overwrite anything, and clean up after unusable input.

    Args:
        recipe: What is to be run.
        out: The run directory to make.
        resume: Whether an unfinished run may be there.
        hold: Whether to keep the folder's lock; if not, the processes started from here take it.

    Raises:
        InputError: A run is there already, finished or not, or in work, or the unfinished one is of another recipe.
    """
    _check_place(out)
    work = unfinished(out)
    existed = work.exists()
    with ExitStack() as held:
        held.enter_context(only_process(work))
        begun = (work / ENVIRONMENT).is_file()
        if begun and not resume:
            raise InputError(
                f"{work} holds an unfinished run. Continue it with --resume, or delete it with expunge purge {out}."
            )
        if begun and (changed := list(changed_settings(work / RECIPE, recipe.resolved()))):
            raise InputError(
                f"{work} was started with another recipe: {', '.join(changed)}. --resume continues with the same one."
            )
        if existed and not begun:  # killed before its first step: it starts again
            _clear(work)
        if not hold:
            held.close()
        try:
            yield
        except InputError:
            if not begun:
                shutil.rmtree(work, ignore_errors=True)
            raise
        except (Interrupted, KeyboardInterrupt) as error:
            raise Interrupted(_what_next(out)) from error


def _check_place(out: Path) -> None:
    """Refuse a place where no run can be made."""
    if out.exists():
        raise InputError(f"{out} already exists. Choose another --out, or remove it first.")
    if out.name.endswith(UNFINISHED_SUFFIX):
        name = out.name.removesuffix(UNFINISHED_SUFFIX)
        raise InputError(f"{out}: give the name of the run when it is finished, --out {name}.")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"--out {out}: {there} is {'not a folder' if there.is_file() else 'read-only'}.")


def _clear(work: Path) -> None:
    for entry in work.iterdir():
        if entry.name not in (LOCK, CHOICE):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _what_next(out: Path) -> str:
    if (unfinished(out) / ENVIRONMENT).is_file():
        return (
            f"interrupted. Continue with: expunge unlearn --resume --out {out}. Or delete what there is with: "
            f"expunge purge {out}."
        )
    return "interrupted before the first step: start again with the same command."


def execute(recipe: Recipe, out: Path, resume: bool, quiet: bool) -> Path:
    """The run itself, in each process that takes part in it; see `unlearn`."""
    asked_for = PromptStyle().updated(recipe.template, recipe.system, recipe.date)
    recipe, work = recipe.resolved(), unfinished(out)
    trainer = trainer_of(recipe, work, quiet)
    trainer.recipe = recipe
    main = trainer.is_world_process_zero()
    speaks = main and not quiet
    if main and trainer.style != asked_for:
        warnings.warn(f"Prompts are written as the target model was trained ({trainer.style}).", stacklevel=2)
    if speaks:
        print(f"expunge: {in_words(trainer.memory_shape(), available_bytes(trainer.args.device))}", file=sys.stderr)
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(str(weights_in(work, adapter=recipe.lora is not None)))
    if speaks and trainer.changes:
        print(f"expunge: {trainer.changes.in_words()}", file=sys.stderr)
    if main:
        (work / LOCK).unlink(missing_ok=True)
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


class Unrecorded(UnlearningTrainer):
    """Nothing of a run is written down but its log, which goes with its folder."""

    recorded = False


def trainer_of(
    recipe: Recipe,
    work: Path,
    quiet: bool,
    sets: tuple[Sequence[Row], Sequence[Row]] | None = None,
    kind: type[UnlearningTrainer] = UnlearningTrainer,
) -> UnlearningTrainer:
    """The trainer of a recipe, whose run folder is `work`.

    Args:
        recipe: With every setting spelt out.
        work: Where it writes.
        quiet: No progress bars.
        sets: Forget and retain rows in place of the recipe's.
        kind: Of trainer.
    """
    forget = load_rows(recipe.forget) if sets is None else sets[0]
    retain = sets[1] if sets else None if recipe.retain is None else load_rows(recipe.retain)
    refusals, objective = load_refusals(recipe.idk), recipe.build_objective()
    args = training_arguments(work, recipe.train, disable_tqdm=quiet)
    load = partial(
        load_model,
        dtype=getattr(torch, recipe.dtype),
        device=args.device,
        quantization=recipe.quantization,
        trust_remote_code=recipe.trust_remote_code,
        attn_implementation=recipe.attention,
    )
    peft_config = recipe.lora.peft_config() if recipe.lora else None
    if peft_config is not None:
        peft_config.base_model_name_or_path = resolve_folder(recipe.model)
    return kind(
        partial(load, recipe.model),
        args,
        forget,
        retain,
        peft_config=peft_config,
        refusals=refusals,
        objective=objective,
        reference=None if recipe.reference is None else partial(load, recipe.reference),
        anchor=_anchor(recipe, objective, load),
        holdout=recipe.holdout,
        style=recipe.prompt_style(),
    )


def _anchor(recipe: Recipe, objective: Objective, load: Callable[[str], Any]) -> ModelOrPlace | None:
    """The anchor of RESET: fresh weights, a model given, or the one below the target's adapter."""
    place = check_anchor(objective, recipe.anchor, recipe.model)
    return place if place in (None, FRESH) else partial(load, str(place))


def training_arguments(folder: Path, options: dict[str, Any], **defaults: Any) -> UnlearningConfig:
    """`UnlearningConfig` from `train.KEY=VALUE` options."""
    return UnlearningConfig(output_dir=str(folder), **{**defaults, **convert_options(options)})
