"""Log-probabilities from logits, a few tokens at a time: with a large vocabulary, memory traffic is what costs.

log softmax and its backward each read and write several tensors of the size of the logits. Here the forward keeps one
number a token beside the logits, and the backward writes the gradient once; the rest stays in the processor's cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CACHED_VALUES = 2**18  # logits at once on the CPU: a megabyte of float32


def log_probability(logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None) -> Tensor:
    """log p_t(y_t): logits [n, K], targets [n] -> [n]."""
    if torch.compiler.is_compiling():
        return -F.cross_entropy(logits, targets, reduction="none")
    return _LogProbability.apply(logits, targets)


def mean_log_probability(logits: Tensor) -> Tensor:
    """(1/K) sum_k log p_t(k): logits [n, K] -> [n]."""
    if torch.compiler.is_compiling():
        return logits.log_softmax(-1).mean(-1)
    return _LogProbability.apply(logits, None)


class _LogProbability(torch.autograd.Function):
    """z[y] - logsumexp(z), or, without targets, mean(z) - logsumexp(z).

    The gradient of either is onehot(y) - softmax(z), or 1/K - softmax(z).
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor | None) -> Tensor:
        total = logits.new_empty(len(logits), 1)
        for rows in _blocks(logits):
            largest = logits[rows].amax(-1, keepdim=True)
            total[rows] = (logits[rows] - largest).exp_().sum(-1, keepdim=True).log_().add_(largest)
        ctx.save_for_backward(logits, total, targets)
        chosen = logits.mean(-1, keepdim=True) if targets is None else logits.gather(-1, targets[:, None])
        return (chosen - total).squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        logits, total, targets = ctx.saved_tensors
        of_value = gradients[0][:, None]
        found = torch.empty_like(logits)
        for rows in _blocks(logits):
            torch.sub(logits[rows], total[rows], out=found[rows]).exp_().mul_(-of_value[rows])
            if targets is None:
                found[rows] += of_value[rows] / logits.shape[-1]
        if targets is not None:
            found.scatter_add_(-1, targets[:, None], of_value)
        return found, None


def _blocks(logits: Tensor) -> Iterator[slice]:
    """Tokens that are worked on together."""
    size = len(logits) if logits.device.type != "cpu" else max(1, CACHED_VALUES // logits.shape[-1])
    return (slice(at, at + size) for at in range(0, len(logits), max(1, size)))
