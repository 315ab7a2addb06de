"""The guard: a loss that stops being finite stops the run before it can be saved."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from expunge.errors import NonFiniteLoss


class Guard:
    """Sums each term's value between two log entries, and looks whether it is finite.

    On the CPU every micro-batch is checked, before its gradient reaches the weights. On a GPU a check makes the host
    wait, so it happens when values are logged and before a checkpoint is written.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names, self._device = list(names), device
        self._sums = torch.zeros(len(names), dtype=torch.float64, device=device)
        self._first_step = self._last_step = 0

    def add(self, values: Mapping[str, Tensor], step: int) -> None:
        """Add a micro-batch's share of each term's value at an optimiser step (counted from 1)."""
        self._sums += torch.stack([values[name].double() for name in self._names]).to(self._device)
        self._first_step, self._last_step = self._first_step or step, step
        if self._device.type == "cpu":
            self.check(step)

    def check(self, step: int, grad_norm: float | None = None) -> None:
        """Stop if a term or the gradient is not finite.

        Raises:
            NonFiniteLoss: Naming the term and the step.
        """
        values = self._sums.tolist()
        for name, value in zip(self._names, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLoss(f"Step {step}: the value of term {name} is no longer finite ({value}).")
        if grad_norm is not None and not math.isfinite(grad_norm):
            terms = ", ".join(f"term {name} {value:.3g}" for name, value in zip(self._names, values, strict=True))
            raise NonFiniteLoss(
                f"Step {step}: the gradient is no longer finite ({grad_norm}); the loss still is: {terms}."
            )

    def drain(self, accelerator: Any) -> dict[str, float]:
        """Mean value of each term per step since the last call, over all processes."""
        sums = accelerator.reduce(self._sums.clone(), reduction="sum")
        steps = max(1, self._last_step - self._first_step + 1)
        self._sums.zero_()
        self._first_step = 0
        return {name: value / steps for name, value in zip(self._names, sums.tolist(), strict=True)}
