"""One teacher-forced pass over distinct rows: per-token values, whatever number of metrics will read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.models import Request, token_values

BATCH_TOKENS = {"cpu": 2048, "cuda": 65536}


@dataclass(frozen=True)
class TokenScores:
    """Values per completion token of one row; `mean` and `std` only where asked for (min-k++)."""

    logprobs: np.ndarray
    greedy: np.ndarray
    mean: np.ndarray | None = None
    std: np.ndarray | None = None


def score(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    wanted: Sequence[int],
    moments: bool = False,
    batch_tokens: int | None = None,
) -> Iterator[list[tuple[int, TokenScores]]]:
    """Score rows batch by batch, longest first, so that running out of memory happens at once or never.

    Args:
        model: in evaluation mode.
        rows: distinct rows; a row without completion tokens has empty values.
        wanted: positions in `rows`.
        moments: also mean and standard deviation of log p_t under p_t.
        batch_tokens: the most tokens of a batch, padding included.

    Yields:
        (position in `rows`, values) of each row of a batch.
    """
    budget = batch_tokens or BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]
    function = values_with_moments if moments else values
    for batch in length_sorted_batches([len(rows[i].ids) for i in wanted], budget):
        members = [wanted[j] for j in batch]
        with torch.inference_mode():
            [[found]] = token_values(model, [Request([rows[i] for i in members], [function])])
        per_row = np.split(found.cpu().numpy(), np.cumsum([rows[i].completion_tokens for i in members])[:-1])
        yield [(i, _token_scores(part)) for i, part in zip(members, per_row, strict=True)]


def length_sorted_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Cut rows, longest first, into batches of at most `budget` tokens with padding, and at least one row."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        size = max(1, budget // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def values(logits: Tensor, target: Tensor, reference: Tensor | None) -> Tensor:
    """Per token: log-probability of the target, and whether it is the most likely token. [n, 2]"""
    chosen = logits.gather(-1, target[:, None]).squeeze(-1)
    return torch.stack([chosen - logits.logsumexp(-1), (logits.argmax(-1) == target).float()], dim=-1)


def values_with_moments(logits: Tensor, target: Tensor, reference: Tensor | None) -> Tensor:
    """`values`, and mean and standard deviation of log p_t under p_t. [n, 4]"""
    logp = logits.log_softmax(-1)
    p = logp.exp()
    mean = (p * logp).sum(-1)
    std = (p * (logp - mean[:, None]).square()).sum(-1).sqrt()  # from the mean: a difference of squares would cancel
    chosen = logp.gather(-1, target[:, None]).squeeze(-1)
    return torch.stack([chosen, (logits.argmax(-1) == target).float(), mean, std], dim=-1)


def _token_scores(found: np.ndarray) -> TokenScores:
    columns = found.T
    moments = tuple(columns[2:].astype(np.float64)) or (None, None)
    return TokenScores(columns[0].astype(np.float64), columns[1] > 0.5, *moments)
