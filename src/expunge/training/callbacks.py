"""What the trainer does at certain moments."""

from typing import Any

from transformers.trainer_callback import ProgressCallback, TrainerCallback

from expunge.training.batching import EpochSampler
from expunge.training.step_log import terms_in


class EpochClock(TrainerCallback):
    """Tells the sampler the epoch, whatever wraps it."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))


class Progress(ProgressCallback):
    """A progress bar that carries the terms' values, instead of printing a line a step."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.training_bar is not None and logs:
            terms = {name: f"{value:.3g}" for name, value in terms_in(logs).items()}
            self.training_bar.set_postfix(terms)
