"""The terms' weights, where an objective changes them after each optimiser step: the same on all processes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from expunge.files import write_json
from expunge.objectives import Objective

WEIGHTS_FILE = "objective_weights.json"


class TermWeights(TrainerCallback):
    """Holds the terms' weights, updates them once per optimiser step, and saves them with each checkpoint.

    Attributes:
        now: For the next optimiser step, or the one under way.
        used: Those of the step before: what its logged loss was weighted with.
    """

    def __init__(self, objective: Objective, accelerator: Any) -> None:
        self.now = self.used = objective.weights
        self._objective, self._accelerator = objective, accelerator
        self._values = torch.zeros(len(self.now), dtype=torch.float64, device=accelerator.device)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add a micro-batch's share of each term's value."""
        self._values += torch.stack([values[name].double() for name in self.now]).to(self._values.device)

    def load(self, checkpoint: str | Path) -> None:
        """Continue with the weights of a checkpoint."""
        self.now = json.loads((Path(checkpoint) / WEIGHTS_FILE).read_text(encoding="utf-8"))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        values = self._accelerator.reduce(self._values, reduction="sum").tolist()
        epoch = math.ceil(state.epoch) - 1  # after its last step, the next one has not begun
        named = dict(zip(self.now, values, strict=True))
        self.used, self.now = self.now, self._objective.next_weights(self.now, named, epoch)
        self._values = torch.zeros_like(self._values)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            write_json(folder / WEIGHTS_FILE, self.now)
