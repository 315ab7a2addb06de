"""One optimiser step's micro-batches, and the gradient of either side of the objective over all of them."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.trainer_callback import TrainerCallback

from expunge.errors import InputError
from expunge.objectives import Objective

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

Gradient = dict[Tensor, Tensor]  # by parameter


@dataclass(frozen=True)
class Window:
    """What a gradient rule needs for one optimiser step.

    Attributes:
        model: As the trainer wrapped it.
        inputs: The micro-batches.
        objective: The whole objective.
        loss: (inputs, objective, whether to count its values in the log) -> this micro-batch's share of the loss.
        accelerator: Runs backwards, and defers the reduction over processes.
    """

    model: nn.Module
    inputs: Sequence[Any]
    objective: Objective
    loss: Callable[[Any, Objective, bool], Tensor]
    accelerator: Any

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those that are trained."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def gradient(self, objective: Objective, record: bool = True) -> tuple[Tensor, Gradient]:
        """Loss and gradient of some of the terms over the window and all processes.

        Args:
            objective: Those terms.
            record: Whether their values count in the log.
        """
        total = torch.zeros((), device=self.accelerator.device)
        if not objective.terms:
            return total, {parameter: torch.zeros_like(parameter) for parameter in self.parameters}
        for i, inputs in enumerate(self.inputs):
            last = i == len(self.inputs) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self.loss(inputs, objective, record)
                self.accelerator.backward(loss)
            total += loss.detach()
        found: Gradient = {p: torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters}
        for parameter in found:
            parameter.grad = None
        return total, found


class SeparateGradients(TrainerCallback):
    """Computes the gradients of both sides apart, and leaves their sum for the optimiser.

    What it does with them is for subclasses; as it is, it serves optimisers with a state for each side.

    Attributes:
        forget: The forget side's share of the gradient, by parameter.
    """

    def __init__(self) -> None:
        self.forget: Gradient = {}

    def __call__(self, window: Window) -> Tensor:
        """Set the gradient of every trained parameter; return the loss."""
        forget_loss, self.forget = self.forget_gradient(window)
        retain_loss, retain = window.gradient(window.objective.only("retain"))
        for parameter, gradient in self.forget.items():
            parameter.grad = gradient + retain[parameter]
        return forget_loss + retain_loss

    def forget_gradient(self, window: Window) -> tuple[Tensor, Gradient]:
        """Loss and gradient of the forget terms."""
        return window.gradient(window.objective.only("forget"))

    def clipped(self, factor: float | Tensor) -> None:
        """Follow the clipping of the whole gradient."""
        self.forget = {parameter: gradient * factor for parameter, gradient in self.forget.items()}


def check_both_sides(trainer: "UnlearningTrainer", option: str) -> None:
    """Refuse an objective without one of the sides, and gradients that are scaled for fp16.

    Raises:
        InputError: Naming the option and the fix.
    """
    if not trainer.objective.only("retain").terms:
        raise InputError(f"{option} needs a regularisation term, and {trainer.objective.name} has none: add one, +GD.")
    if trainer.args.fp16:
        raise InputError(
            f"{option} cannot be combined with train.fp16: gradients of both sides would be scaled differently. Use "
            "train.bf16=true."
        )


def inner(a: Gradient, b: Gradient) -> Tensor:
    """Inner product over all parameters: a scalar, whatever the sharding."""
    total = torch.stack([_full((a[parameter].float() * b[parameter].float()).sum()) for parameter in a])
    return total.sum()


def _full(total: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor

    return total.full_tensor() if isinstance(total, DTensor) else total
