"""Rows one behind the other in a single line: no padding, and one pass however their lengths differ.

Everything but attention looks at one token at a time and does not care whose neighbour it is. Attention is handed the
rows' lengths and keeps each row to itself: flash attention on its own, the CPU's row after row. There a prompt with
several completions (the answer, a refusal) is computed once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROW_BY_ROW = "expunge_row_by_row"
_packing: WeakSet[PreTrainedModel] = WeakSet()


@dataclass(frozen=True)
class Line:
    """Rows laid one behind the other, in segments.

    Rows that begin with the same prompt share it: it is one segment, and their completions are segments behind it.

    Attributes:
        ids: Of all segments, one behind the other.
        positions: Of each token in its own row.
        lengths: Tokens of each segment.
        parents: The segment that comes before it in its row; None: it begins one.
        places: For each row, where its tokens stand in `ids`.
    """

    ids: list[int]
    positions: list[int]
    lengths: list[int]
    parents: list[int | None]
    places: list[Sequence[int]]


def lay_out(rows: Sequence[Sequence[int]], prompts: Sequence[int], share: bool = True) -> Line:
    """Lay rows in a line.

    Args:
        rows: Token ids of each row.
        prompts: How many tokens of each row are its prompt.
        share: Whether rows may share a prompt.
    """
    line = Line([], [], [], [], [])
    beginnings = [tuple(row[:prompt]) for row, prompt in zip(rows, prompts, strict=True)]
    times = Counter(beginnings) if share else {}
    shared: dict[tuple[int, ...], tuple[int, range]] = {}

    def append(ids: Sequence[int], first: int, parent: int | None) -> range:
        place = range(len(line.ids), len(line.ids) + len(ids))
        line.ids.extend(ids)
        line.positions.extend(range(first, first + len(ids)))
        line.lengths.append(len(ids))
        line.parents.append(parent)
        return place

    for row, prompt, beginning in zip(rows, prompts, beginnings, strict=True):
        if times.get(beginning, 1) == 1 or not prompt:
            line.places.append(append(row, 0, None))
            continue
        if beginning not in shared:
            shared[beginning] = len(line.lengths), append(beginning, 0, None)
        parent, place = shared[beginning]
        rest = append(row[prompt:], prompt, parent) if len(row) > prompt else ()
        line.places.append([*place, *rest])
    return line


def row_by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    line: Line | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a line [1, heads, tokens, width]; plain SDPA where it is none."""
    if line is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    queries, keys, values = (states.split(line.lengths, dim=2) for states in (query, key, value))
    found = []
    for q, k, v, parent in zip(queries, keys, values, line.parents, strict=True):
        if parent is not None:
            k, v = torch.cat([keys[parent], k], dim=2), torch.cat([values[parent], v], dim=2)
        mask = _mask(q.shape[2], k.shape[2], options.get("sliding_window"), q.device)
        found.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return torch.cat(found, dim=1), None


AttentionInterface.register(ROW_BY_ROW, row_by_row)
AttentionMaskInterface.register(ROW_BY_ROW, sdpa_mask)


def _mask(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which of a row's tokens each of its last ones sees [1, 1, queries, keys]; None: causal is all it takes."""
    if queries == keys and (window is None or keys <= window):
        return None
    position = torch.arange(keys, device=device)
    distance = position[-queries:, None] - position[None, :]
    return ((distance >= 0) & (distance < (window or keys)))[None, None]


def pack_rows(model: PreTrainedModel) -> bool:
    """Run this model's rows without padding from now on, if it can and gives the same numbers so.

    On the CPU with SDPA, and on a GPU with flash attention. A model with another attention, or with a state that runs
    from token to token and would leak from row to row, keeps its padding.
    """
    text = model.config.get_text_config()
    before = text._attn_implementation
    if before == "sdpa" and model.device.type == "cpu" and model._can_set_attn_implementation():
        model.set_attn_implementation(ROW_BY_ROW)
    elif not (before or "").startswith("flash_attention"):
        return False
    _packing.add(model)
    if not _same_numbers(model):
        _packing.discard(model)
        model.set_attn_implementation(before)
    return model in _packing


def packs_rows(model: PreTrainedModel) -> bool:
    """Whether `pack_rows` was asked for and found exact, on the device that the model is on now."""
    row_by_row = model.config.get_text_config()._attn_implementation == ROW_BY_ROW
    return model in _packing and row_by_row == (model.device.type == "cpu")


def run_packed(
    decoder: nn.Module, rows: Sequence[Sequence[int]], prompts: Sequence[int], device: torch.device
) -> tuple[Tensor, list[Sequence[int]]]:
    """The decoder's output for every token of a line [tokens, width], and where each row's tokens stand in it."""
    on_cpu = device.type == "cpu"
    line = lay_out(rows, prompts, share=on_cpu)
    if on_cpu:
        # Four dimensions are taken for a finished mask, so that none is made: the line keeps the rows apart.
        options = {"line": line, "attention_mask": torch.empty(1, 1, 0, 0)}
    else:
        ends = torch.tensor([0, *line.lengths], device=device).cumsum(0, dtype=torch.int32)
        longest = max(line.lengths)
        options = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
    ids, positions = (torch.tensor([values], device=device) for values in (line.ids, line.positions))
    output = decoder(input_ids=ids, position_ids=positions, use_cache=False, **options)
    return output.last_hidden_state[0], line.places


@torch.no_grad()
def _same_numbers(model: PreTrainedModel) -> bool:
    """Compare rows in a line, two of them with the same prompt, with the same rows on their own."""
    training = model.training
    model.eval()
    decoder, rows = model.get_decoder(), [[0, 1, 2, 3, 4], [4, 3, 1], [0, 1, 5]]
    try:
        together, places = run_packed(decoder, rows, [2, 2, 2], model.device)
        alone = [decoder(input_ids=torch.tensor([r], device=model.device), use_cache=False)[0][0] for r in rows]
    except (TypeError, ValueError, RuntimeError, AttributeError):  # an architecture that cannot be called like this
        return False
    finally:
        model.train(training)
    tolerance = 1e-4 if together.dtype == torch.float32 else 3e-2
    apart = torch.cat([together[list(place)] for place in places])
    return torch.allclose(apart, torch.cat(alone), rtol=tolerance, atol=tolerance)
