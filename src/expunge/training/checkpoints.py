"""Checkpoints: whole or not there; and the log that belongs to one."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerCallback, TrainerState

from expunge.errors import InputError
from expunge.files import whole_file
from expunge.models import sees
from expunge.runs import CHECKPOINT

WHOLE = "whole"  # an empty file: written last, removed first


class WholeCheckpoint(TrainerCallback):
    """Marks a checkpoint once all of it is written, and only then makes room by removing older ones.

    Args:
        limit: How many are kept; None: all.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        (folder / f"{CHECKPOINT}{state.global_step}" / WHOLE).touch()
        if self._limit is not None:
            for checkpoint in _checkpoints(folder)[: -self._limit]:
                remove_checkpoint(checkpoint)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, or None."""
    whole = [checkpoint for checkpoint in _checkpoints(folder) if (checkpoint / WHOLE).is_file()]
    return str(whole[-1]) if whole else None


def checkpoint_to_resume(folder: Path, resume: str | bool | None) -> str | None:
    """Where to continue from: the newest whole checkpoint (True), the one named, or nowhere.

    Raises:
        InputError: The one named is not whole, or nothing can continue from it.
    """
    checkpoint = last_whole_checkpoint(folder) if resume is True else resume or None
    if checkpoint is None:
        return None
    if not (Path(checkpoint) / WHOLE).is_file():
        raise InputError(f"{checkpoint} was not written to its end; resume_from_checkpoint=True takes one that was.")
    if not any(Path(checkpoint).glob("optimizer*")):
        raise InputError(
            f"{checkpoint} has no state of the optimiser: a run with train.save_only_model=true cannot be resumed. "
            "Start it again."
        )
    state_of(checkpoint)
    return checkpoint


def state_of(checkpoint: str) -> TrainerState:
    """The trainer's state in a checkpoint."""
    with readable(checkpoint):
        return TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))


@contextmanager
def readable(checkpoint: str | None) -> Iterator[None]:
    """Refuse a checkpoint whose files are not as they were written, whatever that makes the libraries raise.

    Raises:
        InputError: Naming the checkpoint.
    """
    try:
        yield
    except (ValueError, RuntimeError, EOFError, LookupError, TypeError, UnpicklingError, SafetensorError) as error:
        raise InputError(
            f"{checkpoint}: this checkpoint cannot be read ({str(error).splitlines()[0]}). Remove it, to go on from an "
            "older one if there is one, or start the run again."
        ) from error


class Resumable(Trainer):
    """Reads a checkpoint, or says which one cannot be read."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with readable(resume_from_checkpoint):
            if self.is_fsdp_enabled or not _load_renamed(cast(nn.Module, self.model), resume_from_checkpoint):
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with readable(checkpoint):
            super()._load_rng_state(checkpoint)


def _load_renamed(model: nn.Module, checkpoint: str) -> bool:
    """Load a vision-language model's weights; False for any other model, which is left as it is.

    They are saved under other names than they have in memory, and transformers' trainer would find none of them.
    """
    if not (isinstance(model, PreTrainedModel) and sees(model.config)):
        return False
    whole = type(model).from_pretrained(checkpoint, dtype=model.dtype, use_safetensors=True)
    model.load_state_dict(whole.state_dict())
    return True


def remove_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint; a kill on the way leaves one that is not whole."""
    (checkpoint / WHOLE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def remove_checkpoints(folder: Path, whole: bool = True) -> None:
    """Remove all checkpoints of a run, or only those that are not whole."""
    for checkpoint in _checkpoints(folder):
        if whole or not (checkpoint / WHOLE).is_file():
            remove_checkpoint(checkpoint)


def trim_log(log: Path, checkpoint: str | None) -> None:
    """Drop log entries from after the checkpoint; they will be written again."""
    if not log.is_file():
        return
    last = _step(Path(checkpoint)) if checkpoint else 0
    kept = [line for line in log.read_text(encoding="utf-8").splitlines() if _logged_step(line) <= last]
    with whole_file(log) as part:
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _checkpoints(folder: Path) -> list[Path]:
    """All checkpoints of a run, oldest first."""
    found = [path for path in folder.glob(f"{CHECKPOINT}*") if path.name.removeprefix(CHECKPOINT).isdigit()]
    return sorted(found, key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix(CHECKPOINT))


def _logged_step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the kill came while this line was written
