"""What the trainer does at certain moments."""

from pathlib import Path
from typing import Any

from transformers.trainer_callback import ProgressCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from expunge.training.batching import EpochSampler
from expunge.training.checkpoints import WHOLE


class EpochClock(TrainerCallback):
    """Tells the sampler the epoch, whatever wraps it."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))


class WholeCheckpoint(TrainerCallback):
    """Marks a checkpoint once all of it is written, so that a half-written one is never resumed from."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / WHOLE).touch()


class Progress(ProgressCallback):
    """A progress bar that carries the terms' values, instead of printing a line a step."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.training_bar is not None and logs:
            terms = {k.removeprefix("term/"): f"{v:.3g}" for k, v in logs.items() if k.startswith("term/")}
            self.training_bar.set_postfix(terms)
