"""GRU: the part of the update that would raise the retain loss is taken out (2503.09117)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from expunge.objectives import Objective
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule
from expunge.training.steps.window import Gradient, SeparateGradients, Window, check_both_sides, inner

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

KEPT_AS = "retain_direction"
ROUNDING = 1e-6  # relative size below which a float32 gradient is noise


class GRU(Rule):
    """`train.gradient=gru`."""

    option = "train.gradient=gru"
    paper = "2503.09117"
    summary = "takes out the part of the step that would raise the retain loss"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return args.gradient == "gru"

    def check(self, trainer: "UnlearningTrainer") -> None:
        check_both_sides(trainer, self.option)

    def gradients(self, trainer: "UnlearningTrainer") -> SeparateGradients:
        return Rectified(trainer.inner_optimizer, trainer.args.gru_smoothing)


class Rectified(SeparateGradients):
    """g <- g - min(0, <g, d>) / |d|^2 d, with g the objective's gradient and d the smoothed retain gradient.

    d is an exponential average, d <- (1 - smoothing) d + smoothing g_r, kept in the optimiser's state so that
    checkpoints hold it. With `retain_weight=0` the retain terms are the constraint alone, as in the paper; with a
    weight they are descended as well. Both gradients are the whole batch's. The average starts at the first gradient,
    in the released code at zero; and that code keeps it and all gradients in the host's memory, without checkpointing.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, smoothing: float) -> None:
        super().__init__()
        self._optimizer, self._smoothing = optimizer, smoothing
        self._direction: Gradient = {}

    def __call__(self, window: Window) -> Tensor:
        """Set the gradient of every trained parameter; return the loss."""
        loss, forget = window.gradient(window.objective.only("forget"))
        constraint = window.objective.only("retain")
        descended = any(part.weight for part in constraint.terms)
        if not descended:
            constraint = replace(constraint, terms=tuple(replace(part, weight=1.0) for part in constraint.terms))
        retain_loss, retain = window.gradient(constraint)
        self._smooth(retain)
        whole = {p: g + retain[p] for p, g in forget.items()} if descended else forget
        size = inner(self._direction, self._direction)
        conflict = inner(whole, self._direction).clamp(max=0) / size
        # KL's gradient is zero at the target: its rounding errors are no direction to respect.
        conflict = torch.where(size > ROUNDING**2 * inner(whole, whole), conflict, torch.zeros_like(conflict))
        self.forget = {p: g - (conflict * self._direction[p]).to(g.dtype) for p, g in forget.items()}
        for parameter, gradient in self.forget.items():
            parameter.grad = gradient + retain[parameter] if descended else gradient.clone()
        return loss + retain_loss if descended else loss

    def _smooth(self, retain: Gradient) -> None:
        for parameter, gradient in retain.items():
            before = self._optimizer.state.get(parameter, {}).get(KEPT_AS)
            new = gradient if before is None else before.to(gradient.dtype).lerp(gradient, self._smoothing)
            self._direction[parameter] = new

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the direction where checkpoints find it."""
        for parameter, direction in self._direction.items():
            self._optimizer.state[parameter][KEPT_AS] = direction
