"""Gradient norms of single rows: the one measurement that needs every row's own gradient."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.evaluation.passes.plan import ends
from expunge.evaluation.passes.score import values
from expunge.models import Request, token_values
from expunge.models.batching import by_length, cut_into
from expunge.models.head import live_head

# Each row of a batch has a gradient as large as the model: all of them together take at most this much,
GRADIENT_BYTES = 256 * 2**20
# and a batch has so many tokens, padding included, for attention keeps a square of each row's length.
BATCH_TOKENS = 1024


def gradient_norms(
    model: PreTrainedModel, rows: Sequence[Encoded], positions: Sequence[int], end: int
) -> Iterator[list[tuple[int, float | None]]]:
    """Mean over parameter tensors of the L2 norm of the gradient of each row's token-mean loss, without end-of-turn.

    Every floating-point parameter counts, frozen or not.

    Args:
        model: in evaluation mode; its own gradients are not touched.
        rows: distinct rows.
        positions: which of them.
        end: the end-of-turn token.

    Yields:
        (position, norm) of each row of a batch; None for a row without other completion tokens.
    """
    without_end = {i: replace(rows[i], ids=rows[i].ids[:-1]) if ends(rows[i], end) else rows[i] for i in positions}
    empty = [i for i in positions if not without_end[i].completion_tokens]
    if empty:
        yield [(i, None) for i in empty]
    asked = [i for i in positions if without_end[i].completion_tokens]
    batched = not any(row.pixels for row in without_end.values())
    most = max(1, GRADIENT_BYTES // sum(p.numel() * p.element_size() for p in model.parameters()))
    for members in by_length([len(without_end[i].ids) for i in asked], BATCH_TOKENS):
        for batch in cut_into([asked[k] for k in members], most):
            own = [without_end[i] for i in batch]
            try:
                norms = norms_together(model, own) if batched and len(batch) > 1 else norms_one_by_one(model, own)
            except (RuntimeError, TypeError, ValueError):  # an architecture that torch.func cannot batch
                batched, norms = False, norms_one_by_one(model, own)
            yield list(zip(batch, norms, strict=True))


class _RowLoss(nn.Module):
    """The token-mean loss of one padded row; `weight` is 1/n at the n predicted tokens."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, weight: Tensor) -> Tensor:
        hidden = self.model.get_decoder()(input_ids=ids[None, :-1], use_cache=False).last_hidden_state[0]
        return -(values(live_head(self.model)(hidden), ids[1:], None)[:, 0] * weight).sum()


def norms_together(model: PreTrainedModel, rows: Sequence[Encoded]) -> list[float]:
    """The norms from one batched backward pass.

    Padded on the right without a mask: under causal attention no token that counts sees the padding behind it.

    Raises:
        RuntimeError: `torch.func` cannot batch this model (it may raise other errors, too).
    """
    width = max(len(row.ids) for row in rows)
    ids, weight = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width - 1)
    for line, row in enumerate(rows):
        ids[line, : len(row.ids)] = torch.tensor(row.ids)
        weight[line, row.start - 1 : len(row.ids) - 1] = 1 / row.completion_tokens
    losses = _RowLoss(model)
    floating = {n: p.detach() for n, p in losses.named_parameters() if p.is_floating_point()}

    def loss(parameters: dict[str, Tensor], ids: Tensor, weight: Tensor) -> Tensor:
        return cast(Tensor, functional_call(losses, parameters, (ids, weight)))

    with sdpa_kernel(SDPBackend.MATH):  # the others cannot be batched
        found = vmap(grad(loss), in_dims=(None, 0, 0))(floating, ids.to(model.device), weight.to(model.device))
    return torch.stack([gradient.flatten(1).float().norm(dim=1) for gradient in found.values()]).mean(0).tolist()


def norms_one_by_one(model: PreTrainedModel, rows: Sequence[Encoded]) -> list[float]:
    """The norms from a backward pass for each row; for models of any size.

    Gradients are dropped tensor by tensor as they are made, so that the model's size is not needed once more. What
    `requires_grad` was is put back.
    """
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    before = [(p.requires_grad, p.grad) for p in parameters]
    norms: list[Tensor] = []
    found: list[float] = []

    def keep_norm(parameter: Tensor) -> None:
        assert parameter.grad is not None  # called when it has been made
        norms.append(parameter.grad.float().norm())
        parameter.grad = None

    hooks = []
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
            hooks.append(parameter.register_post_accumulate_grad_hook(keep_norm))
        for row in rows:
            norms.clear()
            with torch.enable_grad():
                [[scored]] = token_values(model, [Request([row], [values])])
                (-scored[:, 0].mean()).backward()
            found.append(float(torch.stack(norms).mean()))
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, (required, gradient) in zip(parameters, before, strict=True):
            parameter.requires_grad_(required)
            parameter.grad = gradient
    return found
