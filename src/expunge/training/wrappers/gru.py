"""GRU: the part of the update that would raise the retain loss is taken out (2503.09117)."""

import torch

from expunge.training.wrappers.window import Gradient, Separate, Window, inner

KEPT_AS = "retain_direction"


class Rectified(Separate):
    """g <- g - min(0, <g, d>) / |d|^2 d, with g the objective's gradient and d the smoothed retain gradient.

    d is an exponential average, d <- (1 - smoothing) d + smoothing g_r, kept in the optimiser's state so that
    checkpoints hold it. With `retain_weight=0` the retain terms are the constraint alone, as in the paper; with a
    weight they are descended as well. The released code projects each micro-batch's gradient; here it is the whole
    batch's.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, smoothing: float) -> None:
        super().__init__()
        self._optimizer, self._smoothing = optimizer, smoothing
        self._direction: Gradient = {}

    def __call__(self, window: Window):
        """Set the gradient of every trained parameter; return the loss."""
        forget_loss, self.forget = window.gradient("forget")
        weights = [part.weight for part in window.objective.terms if part.set == "retain"]
        descended = any(weights)
        constraint = window if descended else Window(**{**vars(window), "objective": window.objective.reweighted(1.0)})
        retain_loss, retain = constraint.gradient("retain")
        self._smooth(retain)
        whole = {p: g + retain[p] for p, g in self.forget.items()} if descended else self.forget
        size = inner(self._direction, self._direction)
        conflict = inner(whole, self._direction).clamp(max=0) / size.clamp(min=torch.finfo(size.dtype).tiny)
        self.forget = {p: g - conflict.to(g.dtype) * self._direction[p] for p, g in self.forget.items()}
        for parameter, gradient in self.forget.items():
            parameter.grad = gradient + retain[parameter] if descended else gradient.clone()
        return forget_loss + retain_loss * descended

    def _smooth(self, retain: Gradient) -> None:
        for parameter, gradient in retain.items():
            before = self._optimizer.state[parameter].get(KEPT_AS) if parameter in self._optimizer.state else None
            self._direction[parameter] = gradient if before is None else before.lerp(gradient, self._smoothing)

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the direction where checkpoints find it."""
        for parameter, direction in self._direction.items():
            self._optimizer.state[parameter][KEPT_AS] = direction
