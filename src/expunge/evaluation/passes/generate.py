"""Answers: prompts sorted by length, padded on the left, and a row leaves its batch when it has ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import PromptStyle, end_of_turn
from expunge.evaluation.passes.plan import Prompt
from expunge.models.batching import by_length
from expunge.models.head import live_head
from expunge.models.pictures import padding_for, picture_inputs

# Rows of a batch share its steps: wide batches are worth more than padding costs. Prompt and new tokens count.
BATCH_TOKENS = {"cpu": 16384, "cuda": 65536}
# Leaving a batch copies the cache of the rows that stay, so rows leave when this share of them has ended.
LEAVE_SHARE = 0.2


def stop_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, style: PromptStyle = PromptStyle()
) -> frozenset[int]:
    """The tokens that end an answer: the template's end of turn, the end of sequence, and the model's own list."""
    listed = model.generation_config.eos_token_id if model.generation_config is not None else None
    own = [listed] if isinstance(listed, int) else listed or []
    end = cast(int | None, tokenizer.eos_token_id)  # annotated as if it could be any special token, or several
    return frozenset(t for t in (end_of_turn(tokenizer, style), end, *own) if t is not None)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. What a prompt is answered depends on the seed and its position, not on its batch.

    Attributes:
        temperature: logits are divided by it.
        top_p: tokens are drawn from the fewest most likely ones that hold at least this much probability.
        seed: of the draws.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def draw(self, logits: Tensor, uniform: Tensor) -> Tensor:
        """Tokens [rows] from logits [rows, vocabulary] and numbers in [0, 1) [rows], by the inverse distribution."""
        probabilities, tokens = (logits.float() / self.temperature).softmax(-1).sort(descending=True, stable=True)
        reached = probabilities.cumsum(-1)
        kept = reached - probabilities < self.top_p
        mass = (probabilities * kept).sum(-1, keepdim=True)
        chosen = (reached <= uniform[:, None] * mass).sum(-1, keepdim=True)
        return tokens.gather(-1, chosen.minimum(kept.sum(-1, keepdim=True) - 1)).squeeze(-1)


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    wanted: Sequence[int],
    stop: frozenset[int],
    batch_tokens: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Answer prompts, longest first: with the most likely token at each step, or by sampling.

    Args:
        model: in evaluation mode.
        prompts: distinct prompts, each with its own limit of new tokens.
        wanted: positions in `prompts`.
        stop: tokens that end an answer; they are not part of it.
        batch_tokens: the most tokens of a batch, prompt and new tokens with padding.
        sampling: how tokens are drawn; None: the most likely one, no penalty.

    Yields:
        (position in `prompts`, token ids of the answer) of each prompt of a batch.
    """
    budget = batch_tokens or BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]
    for batch in by_length([len(prompts[i].ids) + prompts[i].new_tokens for i in wanted], budget):
        members = [wanted[j] for j in batch]
        with torch.inference_mode():
            answers = _answers(model, [prompts[i] for i in members], stop, _drawn(prompts, members, sampling), sampling)
        yield list(zip(members, answers, strict=True))


def _drawn(prompts: Sequence[Prompt], members: Sequence[int], sampling: Sampling | None) -> Sequence[np.ndarray]:
    """For each prompt of a batch, a number in [0, 1) for every new token."""
    if sampling is None:
        return ()
    return [np.random.default_rng([sampling.seed, i]).random(prompts[i].new_tokens) for i in members]


def _answers(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    stop: frozenset[int],
    drawn: Sequence[np.ndarray],
    sampling: Sampling | None,
) -> list[list[int]]:
    """Answer one batch; `live` are the prompts still in it, in the order of the tensors' rows."""
    decoder, head = model.get_decoder(), live_head(model)
    answers: list[list[int]] = [[] for _ in prompts]
    live = [i for i, prompt in enumerate(prompts) if prompt.ids and prompt.new_tokens > 0]
    if not live:
        return answers
    ended: set[int] = set()
    shown = [own for i in live if (own := prompts[i].pixels)]
    ids, mask = _left_padded([prompts[i].ids for i in live], padding_for(shown), model.device)
    more = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    if shown:  # pictures are seen in the first pass alone; what follows them is text
        more |= picture_inputs(model, ids, shown, mask)
    reader = model.base_model if shown else decoder
    cache = DynamicCache(config=model.config)
    step = 0
    while True:
        hidden = reader(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **more
        ).last_hidden_state[:, -1]
        if sampling is None:
            tokens = head(hidden).argmax(-1)
        else:  # one that has ended may still be there; what it draws makes no difference
            uniform = [drawn[i][min(step, len(drawn[i]) - 1)] for i in live]
            tokens = sampling.draw(head(hidden), torch.tensor(uniform, dtype=torch.float32, device=model.device))
        step += 1
        for i, token in zip(live, tokens.tolist(), strict=True):
            if i in ended:
                continue
            if token not in stop:
                answers[i].append(token)
            if token in stop or len(answers[i]) == prompts[i].new_tokens:
                ended.add(i)
        stay = [line for line, i in enumerate(live) if i not in ended]
        if not stay:
            return answers
        reader, positions = decoder, more["position_ids"][..., -1:] + 1  # [rows, 1]; with a grid [3, rows, 1]
        if len(live) - len(stay) >= LEAVE_SHARE * len(live):
            kept = torch.tensor(stay, device=model.device)
            cache.batch_select_indices(kept)
            tokens, mask, positions = tokens[kept], mask[kept], positions[..., kept, :]
            live = [live[line] for line in stay]
        more = {"position_ids": positions}
        ids, mask = tokens[:, None], torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)


def _left_padded(rows: Sequence[Sequence[int]], padding: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask [rows, longest]."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for line, row in enumerate(rows):
        ids[line, width - len(row) :] = torch.tensor(row)
        mask[line, width - len(row) :] = 1
    return ids.to(device), mask.to(device)
