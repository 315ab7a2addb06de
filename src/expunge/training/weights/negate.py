"""Task-vector negation: learn the forget set, then go the same way backwards."""

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor


class Origin:
    """The weights before training, to be gone back from: theta_0 - scale (theta_T - theta_0) (2212.04089).

    Held in the host's memory. Used with an objective that learns the forget set, e.g. GA with forget_weight=-1.
    """

    def __init__(self, model: nn.Module) -> None:
        self._weights = {name: p.detach().cpu().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def negate(self, model: nn.Module, scale: float) -> None:
        """Replace what was learned by `scale` times its opposite.

        An adapter's change is the product B A with B = 0 at the start: its opposite is that of B alone.
        """
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            if "lora_A" in name:
                continue
            origin = self._weights[name.removeprefix("module.")].to(parameter.device)
            if isinstance(parameter, DTensor):
                origin = distribute_tensor(origin, parameter.device_mesh, parameter.placements)
            parameter.copy_(origin - scale * (parameter - origin))
