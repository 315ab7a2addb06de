"""SURE: only the weights that matter to the forget set are updated, so that a larger step can be taken (2410.16454)."""

from typing import Any

import torch
from torch import Tensor, nn

from expunge.data.pairing import Pairing
from expunge.data.views import ViewRows
from expunge.objectives import Objective
from expunge.training.views import compute, count


def freeze_all_but_salient(
    model: nn.Module,
    objective: Objective,
    rows: ViewRows,
    pairing: Pairing,
    size: int,
    reference: Any,
    share: float,
) -> list[str]:
    """Train only the tensors with the largest gradient of the forget terms before the first update.

    The saliency of a tensor is the Frobenius norm of its gradient. The paper chooses modules by a threshold on it; here
    they are tensors and a share of them, so that the others need neither gradient nor optimiser state.

    Args:
        model: Its other tensors are frozen.
        objective: Its forget terms are looked at.
        rows: Encodes rows by view and key.
        pairing: What each forget row brings along.
        size: Forget rows at once.
        reference: Values of the frozen target, where needed.
        share: Of the trained tensors, from 0 to 1, how many to keep; at least one.

    Returns:
        Names of the tensors that are still trained.
    """
    forget = objective.only("forget")
    cuts = [
        rows.cut({v: [key for i in batch for key in pairing.keys(v, 0, i)] for v in forget.views})
        for batch in (range(at, min(at + size, pairing.forget)) for at in range(0, pairing.forget, size))
    ]
    totals = count(forget, cuts)
    model.zero_grad()
    for cut in cuts:
        compute(model, forget, cut, totals, reference)[0].backward()
    norms: dict[str, Tensor] = {
        name: p.grad.norm() if p.grad is not None else torch.zeros(())
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    model.zero_grad()
    # Names break ties, so that every process chooses the same.
    order = sorted(norms, key=lambda name: (-float(norms[name]), name))
    chosen = set(order[: max(1, round(share * len(order)))])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
    return sorted(chosen)
