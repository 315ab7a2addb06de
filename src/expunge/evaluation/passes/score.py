"""One teacher-forced pass over distinct rows: per-token values, whatever number of metrics will read them."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.models import Request, TokenFunction, hidden_states
from expunge.models.batching import by_length
from expunge.models.forward import LOGIT_BYTES
from expunge.models.head import live_head
from expunge.models.prefix import can_share, group_by_prompt, prompt_batches, shared_hidden_states

BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}


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
    moments: Container[int] = (),
    batch_tokens: int | None = None,
) -> Iterator[list[tuple[int, TokenScores]]]:
    """Score rows batch by batch, longest first, so that running out of memory happens at once or never.

    Args:
        model: in evaluation mode.
        rows: distinct rows; a row without completion tokens has empty values.
        wanted: positions in `rows`.
        moments: positions whose mean and standard deviation of log p_t under p_t are wanted too.
        batch_tokens: the most tokens of a batch, padding included.

    Yields:
        (position in `rows`, values) of each row of a batch.
    """
    budget = batch_tokens or BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]
    groups, alone = group_by_prompt(rows, wanted) if can_share(model) else ([], list(wanted))
    for batch in prompt_batches(rows, groups, budget):
        with torch.inference_mode():
            parts = [
                pair
                for members, hidden in shared_hidden_states(model, rows, batch, budget)
                for pair in _scores(model, rows, members, hidden, moments)
            ]
        yield parts
    for batch in by_length([len(rows[i].ids) for i in alone], budget):
        members = [alone[j] for j in batch]
        with torch.inference_mode():
            [hidden] = hidden_states(model, [Request([rows[i] for i in members], [values])])
            scored = list(_scores(model, rows, members, hidden, moments))
        yield scored


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


def _scores(
    model: PreTrainedModel, rows: Sequence[Encoded], members: Sequence[int], hidden: Tensor, moments: Container[int]
) -> Iterator[tuple[int, TokenScores]]:
    """From hidden states, row after row, to the values of each row."""
    per_row = dict(zip(members, hidden.split([rows[i].completion_tokens for i in members]), strict=True))
    for function, chosen in (
        (values, [i for i in members if i not in moments]),
        (values_with_moments, [i for i in members if i in moments]),
    ):
        if not chosen:
            continue
        targets = torch.tensor([t for i in chosen for t in rows[i].ids[rows[i].start :]], dtype=torch.long)
        found = _in_chunks(model, torch.cat([per_row[i] for i in chosen]), targets.to(hidden.device), function)
        ends = np.cumsum([rows[i].completion_tokens for i in chosen])[:-1]
        for i, columns in zip(chosen, np.split(found.cpu().numpy(), ends), strict=True):
            yield i, _token_scores(columns)


def _in_chunks(model: PreTrainedModel, hidden: Tensor, targets: Tensor, function: TokenFunction) -> Tensor:
    """Values at hidden states, their logits in chunks of bounded size."""
    head = live_head(model)
    size = max(1, LOGIT_BYTES // (4 * model.get_output_embeddings().weight.shape[0]))
    return torch.cat([function(head(h), t, None) for h, t in zip(hidden.split(size), targets.split(size), strict=True)])


def _token_scores(found: np.ndarray) -> TokenScores:
    columns = found.T
    moments = tuple(columns[2:].astype(np.float64)) or (None, None)
    return TokenScores(columns[0].astype(np.float64), columns[1] > 0.5, *moments)
