"""AdamW with stochastic rounding for bfloat16 weights, and with one state for each side of the objective."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

PLAIN_ADAMW = ("adamw_torch", "adamw_torch_fused")  # transformers' names of what `AdamW` stands in for

# Prefixes of the sides' moments in a parameter's state; the plain optimiser has one set, without a prefix.
JOINT = ("",)
SIDES = ("forget_", "retain_")


class AdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, 1711.05101) whose moments are float32 whatever the weights are.

    bfloat16 weights are rounded stochastically: a step far smaller than the distance to the next number is taken with
    the probability that makes it right on average, where rounding to nearest would lose it.

    With `separate=True`, the forget and the retain terms' gradients have separate moments and each parameter takes
    the sum of both steps (DualOptim, 2504.15827): a large gradient of one side no longer shrinks the other's step. The
    released code alternates two optimisers over the rows of each side; here both steps are taken at the same weights.

    Args:
        params: As in `torch.optim.AdamW`.
        lr, betas, eps, weight_decay: Likewise.
        separate: Whether each side has its own moments; `forget_gradient` must then be set.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        separate: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._separate = separate
        # The share of `p.grad` that comes from the forget terms, by parameter; set before each step where separate.
        self.forget_gradient: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; return the loss of the closure, which is evaluated first, if there is one."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        pairs = [(group, parameter) for group in self.param_groups for parameter in group["params"]]
        for index, (group, parameter) in enumerate(pairs):
            if parameter.grad is not None:
                self._update(parameter, parameter.grad, group, index)
        return loss

    def _update(self, parameter: Tensor, whole: Tensor, group: dict[str, Any], index: int) -> None:
        state = self.state[parameter]
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for side in SIDES if self._separate else JOINT:
                for moment in ("exp_avg", "exp_avg_sq"):
                    state[side + moment] = torch.zeros_like(parameter, dtype=torch.float32)
        state["step"] += 1
        gradient, weights = _local(whole).float(), _local(parameter)
        if self._separate:
            forget = _local(self.forget_gradient[parameter]).float()
            gradients = dict(zip(SIDES, (forget, gradient - forget), strict=True))
        else:
            gradients = {"": gradient}
        step = sum(_direction(state, side, part, group) for side, part in gradients.items())
        new = weights.float() * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * step
        if weights.dtype == torch.bfloat16:
            # A function of the step alone: the same on every process that holds these weights, and after a resume.
            generator = torch.Generator(weights.device).manual_seed(int(state["step"]) * 1_000_003 + index)
            new = stochastically_rounded(new, generator)
        weights.copy_(new)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load, keeping float32 moments: torch would turn them into the weights' type."""
        super().load_state_dict(state_dict)
        packed = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(packed, parameters, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                device = value.device if name == "step" else parameter.device
                self.state[parameter][name] = value.clone().to(device=device, dtype=torch.float32)


def _local(tensor: Tensor) -> Tensor:
    """This process's shard of a sharded tensor: the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _direction(state: dict[str, Any], side: str, gradient: Tensor, group: dict[str, Any]) -> Tensor:
    """m / (sqrt(v) + eps), both corrected for their start at zero."""
    (beta1, beta2), steps = group["betas"], float(state["step"])
    mean = _local(state[side + "exp_avg"]).lerp_(gradient, 1 - beta1)
    square = _local(state[side + "exp_avg_sq"]).mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    return mean / (1 - beta1**steps) / ((square / (1 - beta2**steps)).sqrt() + group["eps"])


def stochastically_rounded(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round float32 to bfloat16, up or down with probabilities that make the expectation the value itself.

    bfloat16 is the upper half of float32: a random number added to the lower half carries with just that probability.
    """
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=generator, device=bits.device, dtype=torch.int32)
    return ((bits + noise) & -(1 << 16)).view(torch.float32).to(torch.bfloat16)
