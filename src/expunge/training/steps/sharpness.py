"""Sharpness-aware forgetting: forget all around the weights, so that a little relearning does not undo it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from expunge.objectives import Objective
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule
from expunge.training.steps.window import Gradient, SeparateGradients, Window, check_both_sides, inner

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer


class Sharpness(Rule):
    """`train.gradient=sharpness`."""

    option = "train.gradient=sharpness"
    paper = "2502.05374"
    summary = "takes the forget gradient where it is largest nearby; against relearning"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return args.gradient == "sharpness"

    def check(self, trainer: "UnlearningTrainer") -> None:
        check_both_sides(trainer, self.option)

    def gradients(self, trainer: "UnlearningTrainer") -> SeparateGradients:
        return Uphill(trainer.args.sharpness_radius)


class Uphill(SeparateGradients):
    """The forget terms' gradient is taken at theta + radius g_f / |g_f|, the retain terms' at theta (2502.05374).

    Costs a second pass over the forget rows. Both gradients are the whole batch's, whatever its micro-batches.
    """

    def __init__(self, radius: float) -> None:
        super().__init__()
        self._radius = radius

    def forget_gradient(self, window: Window) -> tuple[Tensor, Gradient]:
        """Loss at the weights, gradient at the perturbed ones."""
        forget = window.objective.only("forget")
        loss, uphill = window.gradient(forget)
        scale = self._radius / inner(uphill, uphill).sqrt().clamp(min=1e-12)
        with torch.no_grad():
            kept = {parameter: parameter.clone() for parameter in uphill}
            for parameter, gradient in uphill.items():
                parameter.add_(gradient * scale.to(gradient.dtype))
            with torch.enable_grad():
                _, found = window.gradient(forget, record=False)
            for parameter, before in kept.items():
                parameter.copy_(before)
        return loss, found
