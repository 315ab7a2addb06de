"""Rows that share a prompt (the answer, its paraphrase, the wrong answers): the prompt goes through the model once.

Prompts of one batch are cut to the length of the shortest, so that neither padding nor an attention mask is needed;
what is cut off one goes with its completions. The numbers are those of the rows alone up to rounding.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from expunge.data import Encoded
from expunge.models.batching import by_length
from expunge.models.forward import PASS_OVERHEAD_TOKENS


def can_share(model: PreTrainedModel) -> bool:
    """Whether a prompt's keys and values can be handed on: plain attention in every layer, no window, no state."""
    if model._is_stateful:
        return False
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def group_by_prompt(rows: Sequence[Encoded], wanted: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Rows that share everything before their first prediction, two or more together; and the rows left alone."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in wanted:
        groups.setdefault(rows[i].ids[: rows[i].start - 1], []).append(i)
    shared = [members for prompt, members in groups.items() if prompt and len(members) > 1]
    together = {i for members in shared for i in members}
    return shared, [i for i in wanted if i not in together]


def prompt_batches(rows: Sequence[Encoded], groups: Sequence[list[int]], budget: int) -> Iterator[list[list[int]]]:
    """Groups with prompts of like lengths, longest first, at most `budget` tokens of completions in a batch."""
    batch: list[list[int]] = []
    tokens = 0
    for members in sorted(groups, key=lambda group: -rows[group[0]].start):
        more = sum(rows[i].completion_tokens for i in members)
        if batch and tokens + more > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(members)
        tokens += more
    if batch:
        yield batch


def shared_hidden_states(
    model: PreTrainedModel, rows: Sequence[Encoded], groups: Sequence[list[int]], budget: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Run one batch: the prompts once, then the completions by length, each on its prompt's keys and values.

    Yields:
        (positions in `rows`, hidden states before each of their completion tokens, row after row [tokens, width]).
    """
    decoder, device = model.get_decoder(), model.device
    shortest = min(rows[members[0]].start for members in groups) - 1
    prompts = torch.tensor([rows[members[0]].ids[:shortest] for members in groups], device=device)
    cache = DynamicCache(config=model.config)
    decoder(input_ids=prompts, past_key_values=cache, use_cache=True)
    prompt_of = {i: line for line, members in enumerate(groups) for i in members}
    members = list(prompt_of)
    overhead = PASS_OVERHEAD_TOKENS["cpu" if device.type == "cpu" else "cuda"]
    lengths = [max(1, len(rows[i].ids) - 1 - shortest) for i in members]  # the last token predicts nothing asked for
    for lines in by_length(lengths, budget, overhead):
        batch = [members[line] for line in lines]
        width = lengths[lines[0]]
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        keep: list[int] = []
        for line, i in enumerate(batch):
            rest = rows[i].ids[shortest:-1]
            ids[line, : len(rest)] = torch.tensor(rest, dtype=torch.long)
            keep.extend(range(line * width + rows[i].start - 1 - shortest, line * width + len(rest)))
        chosen = torch.tensor([prompt_of[i] for i in batch], device=device)
        own = DynamicCache(config=model.config)
        for number, layer in enumerate(cache.layers):
            own.update(layer.keys[chosen], layer.values[chosen], number)
        hidden = decoder(input_ids=ids.to(device), past_key_values=own, use_cache=True).last_hidden_state
        yield batch, hidden.flatten(0, 1)[torch.tensor(keep, dtype=torch.long, device=device)]
