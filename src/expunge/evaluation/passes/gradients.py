"""Gradient norms of single rows: the one measurement that needs a backward pass for each."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.evaluation.passes.plan import ends
from expunge.evaluation.passes.score import values
from expunge.models import Request, token_values


def gradient_norms(
    model: PreTrainedModel, rows: Sequence[Encoded], positions: Sequence[int], end: int
) -> Iterator[tuple[int, float | None]]:
    """Mean over parameter tensors of the L2 norm of the gradient of each row's token-mean loss, without end-of-turn.

    Gradients are dropped tensor by tensor as they are made, so that the model's size is not needed once more. Every
    floating-point parameter counts, frozen or not; what `requires_grad` was is put back.

    Args:
        model: in evaluation mode; its own gradients are not touched.
        rows: distinct rows.
        positions: which of them.
        end: the end-of-turn token.

    Yields:
        (position, norm); None for a row without other completion tokens.
    """
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    before = [(p.requires_grad, p.grad) for p in parameters]
    norms: list[torch.Tensor] = []

    def keep_norm(parameter: torch.Tensor) -> None:
        assert parameter.grad is not None  # called when it has been made
        norms.append(parameter.grad.float().norm())
        parameter.grad = None

    hooks = []
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
            hooks.append(parameter.register_post_accumulate_grad_hook(keep_norm))
        for i in positions:
            row = replace(rows[i], ids=rows[i].ids[:-1]) if ends(rows[i], end) else rows[i]
            if not row.completion_tokens:
                yield i, None
                continue
            norms.clear()
            with torch.enable_grad():
                [[found]] = token_values(model, [Request([row], [values])])
                (-found[:, 0].mean()).backward()
            yield i, float(torch.stack(norms).mean())
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, (required, gradient) in zip(parameters, before, strict=True):
            parameter.requires_grad_(required)
            parameter.grad = gradient
