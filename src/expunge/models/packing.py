"""Sequence packing: rows of any lengths in one sequence, without padding, and a prompt with several completions once.

Everything but attention looks at one token at a time and does not care whose neighbour it is. For attention the rows
are spread out again, each with its whole prompt, and padded there alone; flash attention is handed their lengths
instead.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from expunge.models.batching import by_length
from expunge.models.pictures import sees

ROW_BY_ROW = "expunge_row_by_row"
# What another call of the attention kernel costs, in padding tokens.
CALL_OVERHEAD_TOKENS = {"cpu": 32, "cuda": 8192}
_packing: WeakSet[PreTrainedModel] = WeakSet()


@dataclass(frozen=True)
class Packed:
    """Rows packed into one sequence. Rows that begin with the same prompt share its tokens.

    Attributes:
        ids: Of all tokens.
        positions: Of each token in its own row.
        places: For each row, where its tokens stand in `ids`.
        device: Where the model is.
    """

    ids: list[int]
    positions: list[int]
    places: list[list[int]]
    device: torch.device

    @cached_property
    def spread(self) -> "Spread":
        """How attention sees the rows: worked out once for all layers."""
        lengths = [len(place) for place in self.places]
        overhead = CALL_OVERHEAD_TOKENS["cpu" if self.device.type == "cpu" else "cuda"]
        shapes, slots = [], []
        slot_of: dict[int, int] = {}
        again: list[tuple[int, int]] = []
        for members in by_length(lengths, overhead=overhead):
            width = lengths[members[0]]
            shapes.append((len(members), width))
            for row in members:
                for token in self.places[row]:
                    if token in slot_of:
                        again.append((token, len(slots)))
                    else:
                        slot_of[token] = len(slots)
                    slots.append(token)
                slots.extend([0] * (width - lengths[row]))
        tokens = [slot_of[token] for token in range(len(self.ids))]
        as_tensor = torch.tensor
        return Spread(
            shapes,
            as_tensor(slots, device=self.device),
            as_tensor(tokens, device=self.device),
            as_tensor(again, device=self.device).T if again else None,
        )


@dataclass(frozen=True)
class Spread:
    """Packed tokens in padded slots, for attention.

    Attributes:
        shapes: (rows, slots of each) of every call of the attention kernel; the slots of all calls follow each other.
        slots: The token in each slot [slots]; token 0 in padding, which no real token attends to.
        tokens: A slot of each token [tokens].
        again: (token, slot) of every further slot of a token that rows share [2, n]; None where none do.
    """

    shapes: list[tuple[int, int]]
    slots: Tensor
    tokens: Tensor
    again: Tensor | None


def pack(rows: Sequence[Sequence[int]], prompts: Sequence[int], device: torch.device, share: bool = True) -> Packed:
    """Pack rows into one sequence.

    Args:
        rows: Token ids of each row.
        prompts: How many tokens of each row are its prompt.
        device: Where the model is.
        share: Whether rows may share a prompt.
    """
    packed = Packed([], [], [], device)
    beginnings = [tuple(row[:prompt]) for row, prompt in zip(rows, prompts, strict=True)]
    times = Counter(beginnings) if share else {}
    shared: dict[tuple[int, ...], list[int]] = {}

    def append(ids: Sequence[int], first: int) -> list[int]:
        place = list(range(len(packed.ids), len(packed.ids) + len(ids)))
        packed.ids.extend(ids)
        packed.positions.extend(range(first, first + len(ids)))
        return place

    for row, prompt, beginning in zip(rows, prompts, beginnings, strict=True):
        if times.get(beginning, 1) == 1 or not prompt:
            packed.places.append(append(row, 0))
            continue
        if beginning not in shared:
            shared[beginning] = append(beginning, 0)
        packed.places.append(shared[beginning] + append(row[prompt:], prompt))
    return packed


class _IntoSlots(torch.autograd.Function):
    """[tokens, width] -> [slots, width]."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, spread: Spread) -> Tensor:
        ctx.spread = spread
        return tokens.index_select(0, spread.slots)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slots,), spread = gradients, ctx.spread
        tokens = slots.index_select(0, spread.tokens)
        if spread.again is not None:
            token, slot = spread.again
            tokens.index_add_(0, token, slots.index_select(0, slot))
        return tokens, None


class _FromSlots(torch.autograd.Function):
    """[slots, width] -> [tokens, width]."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, spread: Spread) -> Tensor:
        ctx.spread, ctx.count = spread, len(slots)
        return slots.index_select(0, spread.tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (tokens,) = gradients
        slots = tokens.new_zeros(ctx.count, tokens.shape[1])
        return slots.index_copy_(0, ctx.spread.tokens, tokens), None


def row_by_row(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packed: Packed | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a packed sequence [1, heads, tokens, width]; plain SDPA where it is none."""
    if packed is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    spread, sizes = packed.spread, [rows * width for rows, width in packed.spread.shapes]
    apart = [_IntoSlots.apply(s[0].transpose(0, 1).flatten(1), spread).split(sizes) for s in (query, key, value)]
    heads = [states.shape[1] for states in (query, key, value)]
    found = []
    for (rows, width), *slots in zip(spread.shapes, *apart, strict=True):
        q, k, v = (s.view(rows, width, h, -1).transpose(1, 2) for s, h in zip(slots, heads, strict=True))
        mask = _band(width, options.get("sliding_window"), q.device)
        found.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0].flatten(0, 1).flatten(1))
    output = _FromSlots.apply(torch.cat(found) if len(found) > 1 else found[0], spread)
    return output.view(1, output.shape[0], heads[0], -1), None


AttentionInterface.register(ROW_BY_ROW, row_by_row)
AttentionMaskInterface.register(ROW_BY_ROW, sdpa_mask)


def _band(width: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which tokens of a row each one sees [1, 1, width, width]; None: causal is all it takes."""
    if window is None or width <= window:
        return None
    position = torch.arange(width, device=device)
    distance = position[:, None] - position[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


def pack_rows(model: PreTrainedModel) -> bool:
    """Run this model's rows packed from now on, if it can and gives the same numbers so.

    With SDPA on any device, and with flash attention on a GPU. A model with another attention, with a state that runs
    from token to token and would leak from row to row, or with pictures, keeps its padding.
    """
    if sees(model.config):
        return False
    before = _attention(model)
    if before == ROW_BY_ROW:
        return packs_rows(model)
    if before == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(ROW_BY_ROW)
    elif not before.startswith("flash_attention"):
        return False
    _packing.add(model)
    if not _same_numbers(model):
        _packing.discard(model)
        model.set_attn_implementation(before)
    return model in _packing


@contextmanager
def packing(model: PreTrainedModel) -> Iterator[None]:
    """Run a model's rows packed in the block, if it can, and leave the model as it was."""
    before, already = _attention(model), packs_rows(model)
    pack_rows(model)
    try:
        yield
    finally:
        if packs_rows(model) and not already:
            _packing.discard(model)
            model.set_attn_implementation(before)


def packs_rows(model: PreTrainedModel) -> bool:
    """Whether `pack_rows` was asked for and found exact."""
    return model in _packing


def shares_prompts(model: PreTrainedModel) -> bool:
    """Whether a prompt with several completions is run once."""
    return model in _packing and _attention(model) == ROW_BY_ROW


def run_packed(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], prompts: Sequence[int]
) -> tuple[Tensor, list[list[int]]]:
    """The decoder's output for every token of a packed sequence [tokens, width], and where each row's tokens stand."""
    device = model.device
    packed = pack(rows, prompts, device, share=shares_prompts(model))
    if _attention(model) == ROW_BY_ROW:
        # Four dimensions are taken for a finished mask, so that none is made: rows are kept apart by their places.
        options: dict[str, Any] = {"packed": packed, "attention_mask": torch.empty(1, 1, 0, 0, device=device)}
    else:
        lengths = [len(row) for row in rows]
        ends = torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)
        longest = max(lengths)
        options = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
    ids, positions = (torch.tensor([values], device=device) for values in (packed.ids, packed.positions))
    output = model.get_decoder()(input_ids=ids, position_ids=positions, use_cache=False, **options)
    return output.last_hidden_state[0], packed.places


def _attention(model: PreTrainedModel) -> str:
    return model.config.get_text_config()._attn_implementation or ""


@torch.no_grad()
def _same_numbers(model: PreTrainedModel) -> bool:
    """Compare packed rows, two of them with the same prompt, with the same rows on their own."""
    training = model.training
    model.eval()
    decoder, rows = model.get_decoder(), [[0, 1, 2, 3, 4], [4, 3, 1], [0, 1, 5]]
    try:
        together, places = run_packed(model, rows, [2, 2, 2])
        alone = [decoder(input_ids=torch.tensor([r], device=model.device), use_cache=False)[0][0] for r in rows]
    except (TypeError, ValueError, RuntimeError, AttributeError):  # an architecture that cannot be called like this
        return False
    finally:
        model.train(training)
    tolerance = 1e-4 if together.dtype == torch.float32 else 3e-2
    apart = torch.cat([together[place] for place in places])
    return torch.allclose(apart, torch.cat(alone), rtol=tolerance, atol=tolerance)
