"""Task-vector negation: learn the forget set, then go the same way backwards."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from expunge.objectives import Objective
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer


class Negation(Rule):
    """`train.negate`: theta_0 - scale (theta_T - theta_0), theta_0 the weights before training (2212.04089).

    Those are held in the host's memory. Used with an objective that learns the forget set, e.g. GA with
    forget_weight=-1.
    """

    option = "train.negate=1"
    paper = "2212.04089"
    summary = "after training, replaces what was learned by its opposite (task-vector negation)"

    def __init__(self) -> None:
        self._origin: dict[str, Tensor] = {}

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return args.negate is not None

    def before(self, trainer: "UnlearningTrainer") -> None:
        named = trainer.model.named_parameters()
        self._origin = {name: p.detach().cpu().clone() for name, p in named if p.requires_grad}

    @torch.no_grad()
    def after(self, trainer: "UnlearningTrainer") -> None:
        """Go as far the other way. An adapter's change is the product B A with B = 0 at the start: negate B alone."""
        scale = trainer.args.negate or 0.0
        for name, parameter in trainer.model.named_parameters():
            if not parameter.requires_grad or "lora_A" in name:
                continue
            origin = self._origin[name.removeprefix("module.")].to(parameter.device)
            if isinstance(parameter, DTensor):
                origin = distribute_tensor(origin, parameter.device_mesh, parameter.placements)
            parameter.copy_(origin - scale * (parameter - origin))
