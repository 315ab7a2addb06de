"""One teacher-forced pass over distinct rows: per-token values, whatever number of metrics will read them."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.models import Request, TokenFunction, hidden_states, packs_rows
from expunge.models.batching import by_length, by_prompt
from expunge.models.forward import LOGIT_BYTES
from expunge.models.head import live_head, output_head

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
        model: in evaluation mode. One that packs rows (`models.packing`) runs a prompt with several completions once.
        rows: distinct rows; a row without completion tokens has empty values.
        wanted: positions in `rows`.
        moments: positions whose mean and standard deviation of log p_t under p_t are wanted too.
        batch_tokens: the most tokens of a batch, padding included.

    Yields:
        (position in `rows`, values) of each row of a batch.
    """
    budget = batch_tokens or BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]
    for members in batches(rows, wanted, budget, packs_rows(model)):
        with torch.inference_mode():
            [hidden] = hidden_states(model, [Request([rows[i] for i in members], [values])])
            scored = list(_scores(model, rows, members, hidden, moments))
        yield scored


def batches(rows: Sequence[Encoded], wanted: Sequence[int], budget: int, packed: bool) -> Iterator[list[int]]:
    """Cut rows into batches of at most `budget` tokens, and at least one row.

    Padded, every row counts as the longest of its batch. Packed, rows of the same prompt stay together, and it counts
    once.
    """
    if not packed:
        yield from ([wanted[j] for j in batch] for batch in by_length([len(rows[i].ids) for i in wanted], budget))
        return
    batch: list[int] = []
    tokens = 0
    for group in by_prompt([rows[i].ids[: rows[i].start] for i in wanted]):
        for k, j in enumerate(group):
            row = rows[wanted[j]]
            more = len(row.ids) if k == 0 or not batch else row.completion_tokens
            if batch and tokens + more > budget:
                yield batch
                batch, tokens, more = [], 0, len(row.ids)
            batch.append(wanted[j])
            tokens += more
    if batch:
        yield batch


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
    size = max(1, LOGIT_BYTES // (4 * len(output_head(model).weight)))
    return torch.cat([function(head(h), t, None) for h, t in zip(hidden.split(size), targets.split(size), strict=True)])


def _token_scores(found: np.ndarray) -> TokenScores:
    columns = found.T
    mean, std = columns[2:].astype(np.float64) if len(columns) > 2 else (None, None)
    return TokenScores(columns[0].astype(np.float64), columns[1] > 0.5, mean, std)
