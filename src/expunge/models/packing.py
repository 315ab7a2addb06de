"""Rows one behind the other in a single line: no padding, and one pass however their lengths differ.

Everything but attention looks at one token at a time and does not care whose neighbour it is. Attention is handed the
rows' lengths and keeps each row to itself: flash attention by itself, the CPU's row after row.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ROW_BY_ROW = "expunge_row_by_row"
_packing: WeakSet[PreTrainedModel] = WeakSet()


def row_by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_lengths: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a line [1, heads, tokens, width]; plain SDPA where no lengths are given."""
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    rows = zip(*(states.split(list(row_lengths), dim=2) for states in (query, key, value)), strict=True)
    window = options.get("sliding_window")
    found = [sdpa_attention_forward(module, q, k, v, _band(q, window), **options)[0] for q, k, v in rows]
    return torch.cat(found, dim=1), None


AttentionInterface.register(ROW_BY_ROW, row_by_row)
AttentionMaskInterface.register(ROW_BY_ROW, sdpa_mask)


def _band(query: Tensor, window: int | None) -> Tensor | None:
    """The mask of a row longer than its sliding window [1, 1, tokens, tokens]; None: causal is all it takes."""
    tokens = query.shape[2]
    if window is None or tokens <= window:
        return None
    position = torch.arange(tokens, device=query.device)
    distance = position[:, None] - position[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


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


def run_packed(decoder: nn.Module, ids: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """The decoder's output for every token of every row: [tokens, width]."""
    lengths = [len(row) for row in ids]
    line = torch.tensor([[token for row in ids for token in row]], device=device)
    positions = torch.tensor([[i for length in lengths for i in range(length)]], device=device)
    ends = torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)
    return decoder(
        input_ids=line,
        position_ids=positions,
        # Four dimensions are taken for a finished mask, so that none is made: the lengths keep the rows apart.
        attention_mask=torch.empty(1, 1, 0, 0, device=device) if device.type == "cpu" else None,
        use_cache=False,
        row_lengths=lengths,
        cu_seq_lens_q=ends,
        cu_seq_lens_k=ends,
        max_length_q=max(lengths),
        max_length_k=max(lengths),
    ).last_hidden_state[0]


@torch.no_grad()
def _same_numbers(model: PreTrainedModel) -> bool:
    """Compare two rows in a line with the same rows on their own."""
    training = model.training
    model.eval()
    decoder, rows = model.get_decoder(), [[0, 1, 2, 3, 4], [4, 3, 1]]
    try:
        together = run_packed(decoder, rows, model.device)
        alone = [decoder(input_ids=torch.tensor([r], device=model.device), use_cache=False)[0][0] for r in rows]
    except (TypeError, ValueError, RuntimeError, AttributeError):  # an architecture that cannot be called like this
        return False
    finally:
        model.train(training)
    tolerance = 1e-4 if together.dtype == torch.float32 else 3e-2
    return torch.allclose(together, torch.cat(alone), rtol=tolerance, atol=tolerance)
