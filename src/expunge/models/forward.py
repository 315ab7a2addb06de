"""The one forward: every row that is asked about, in the passes that waste least, logits only where they are needed.

Where the model allows it the rows are packed into one sequence, without padding (see packing.py). Elsewhere they are
padded on the right and no attention mask is passed: under causal attention a real token never sees the padding behind
it, so the numbers are those of the row alone, and the fastest attention kernels apply.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from expunge.data.chat import Encoded
from expunge.data.processors import Pixels
from expunge.errors import InputError
from expunge.models.batching import by_length
from expunge.models.head import live_head
from expunge.models.packing import packs_rows, run_packed
from expunge.models.pictures import padding_for, picture_inputs

# (logits [n, vocabulary] float32, targets [n], reference logits [n, vocabulary] or None) -> values [n] or [n, k]
# where a request names a layer, hidden states [n, width] take the place of logits
TokenFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]

# A pass costs about as much as this many padding tokens: launching it has a fixed cost.
PASS_OVERHEAD_TOKENS = {"cpu": 64, "cuda": 4096}
# Logits are computed in chunks of this size,
LOGIT_BYTES = 64 * 2**20
# and of one forward so many are kept for the backward; those beyond are computed again when needed.
KEPT_LOGIT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Request:
    """What is asked of some rows.

    Attributes:
        rows: The rows, each with its prompt and completion.
        functions: What to compute at each predicted token.
        whole: Predict every token of the row but the first and those of pictures, not only the completion's.
        reference: Hidden states of the reference model at the same tokens [tokens, width].
        reference_head: From those to the reference model's logits.
        layer: Hand the functions the output of this decoder layer (0-based), where the forward stops, not logits.
    """

    rows: Sequence[Encoded]
    functions: Sequence[TokenFunction]
    whole: bool = False
    reference: Tensor | None = None
    reference_head: Callable[[Tensor], Tensor] | None = None
    layer: int | None = None

    def tokens(self) -> int:
        """How many tokens are predicted in all."""
        return sum(len(row.predicted(self.whole)) for row in self.rows)


def decoder_layer(model: PreTrainedModel, layer: int) -> nn.Module:
    """One of the model's decoder layers, counted from 0.

    Raises:
        InputError: There is no such layer, or the architecture keeps its layers where expunge does not look.
    """
    layers = decoder_layers(model)
    if not 0 <= layer < len(layers):
        raise InputError(
            f"objective.layer={layer}: the model has decoder layers 0 to {len(layers) - 1}. Choose one of them."
        )
    return layers[layer]


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The model's decoder layers.

    Raises:
        InputError: The architecture keeps its layers where expunge does not look.
    """
    modules = model.get_decoder()._modules
    layers = modules.get("layers")
    if not isinstance(layers, nn.ModuleList) or "norm" not in modules:
        raise InputError(f"{model.config.model_type}: expunge cannot stop this architecture at a decoder layer.")
    return layers


def last_norm(model: PreTrainedModel) -> nn.Module:
    """What stands between the last decoder layer and the output head."""
    return cast(nn.Module, model.get_decoder().norm)


@contextmanager
def stopped_after(model: PreTrainedModel, layer: int | None) -> Iterator[None]:
    """Let the decoder return the output of one of its layers: those above, and the last norm, are not run."""
    if layer is None:
        yield
        return
    decoder, layers = model.get_decoder(), decoder_layers(model)
    norm = decoder.norm
    decoder.layers, decoder.norm = layers[: layer + 1], nn.Identity()
    try:
        yield
    finally:
        decoder.layers, decoder.norm = layers, norm


def hidden_states(model: PreTrainedModel, requests: Sequence[Request]) -> list[Tensor]:
    """Hidden states for each token a request is about: [tokens, width] per request.

    After the last layer and norm, at the position before the token, which predicts it; or, where a request names a
    layer, that layer's output at the token itself.
    """
    found: dict[int, Tensor] = {}
    for layer in dict.fromkeys(request.layer for request in requests):
        if layer is not None:
            decoder_layer(model, layer)
        mine = [i for i, request in enumerate(requests) if request.layer == layer]
        with stopped_after(model, layer):
            found.update(zip(mine, _hidden(model, [requests[i] for i in mine]), strict=True))
    return [found[i] for i in range(len(requests))]


def _hidden(model: PreTrainedModel, requests: Sequence[Request]) -> list[Tensor]:
    """What the decoder returns, for requests of the same layer."""
    # A token is predicted from the one before it, so the last of a row need not be run at all.
    ahead = 1 if requests[0].layer is None else 0
    rows = [row for request in requests for row in request.rows]
    ids = [row.ids[: max(1, len(row.ids) - ahead)] for row in rows]
    predicted = [row.predicted(request.whole) for request in requests for row in request.rows]
    wanted = [[position - ahead for position in positions] for positions in predicted]
    if packs_rows(model):
        prompts = [min(row.start, len(part)) for row, part in zip(rows, ids, strict=True)]
        hidden, places = run_packed(model, ids, prompts)
        keep = [place[p] for place, positions in zip(places, wanted, strict=True) for p in positions]
        kept = hidden[_to(torch.tensor(keep, dtype=torch.long), hidden.device)]
    else:
        kept = _in_passes(model, ids, [row.pixels for row in rows], wanted)
    return list(kept.split([request.tokens() for request in requests]))


def _in_passes(
    model: PreTrainedModel,
    ids: Sequence[Sequence[int]],
    pixels: Sequence[Pixels | None],
    wanted: Sequence[Sequence[int]],
) -> Tensor:
    """Outputs at the wanted positions of each row, row after row, from the padded passes that waste least."""
    device = model.device
    pieces: list[Tensor] = []
    spans: list[tuple[int, int]] = [(0, 0)] * len(ids)
    done = 0
    overhead = PASS_OVERHEAD_TOKENS["cpu" if device.type == "cpu" else "cuda"]
    for members in by_length([len(row) for row in ids], overhead=overhead):
        width = len(ids[members[0]])
        shown = [own for i in members if (own := pixels[i])]
        padded = torch.full((len(members), width), padding_for(shown))
        keep: list[int] = []
        for line, i in enumerate(members):
            padded[line, : len(ids[i])] = torch.tensor(ids[i])
            keep.extend(line * width + position for position in wanted[i])
            spans[i] = (done, done + len(wanted[i]))
            done += len(wanted[i])
        padded = _to(padded, device)
        if shown:
            more = picture_inputs(model, padded, shown)
            hidden = model.base_model(input_ids=padded, use_cache=False, **more).last_hidden_state
        else:
            hidden = model.get_decoder()(input_ids=padded, use_cache=False).last_hidden_state
        pieces.append(hidden.flatten(0, 1)[_to(torch.tensor(keep, dtype=torch.long), device)])
    kept = torch.cat(pieces)
    order = [position for span in spans for position in range(*span)]
    if order != list(range(done)):
        kept = kept[_to(torch.tensor(order), device)]
    return kept


def token_values(model: PreTrainedModel, requests: Sequence[Request], compiled: bool = False) -> list[list[Tensor]]:
    """Compute every requested function at every predicted token.

    Args:
        model: The causal language model itself (not a wrapper).
        requests: At least one, with at least one row in all.
        compiled: Run the functions through `torch.compile`.

    Returns:
        For each request, for each of its functions: values [tokens] or [tokens, k], row after row.
    """
    head = live_head(model)
    values, room = [], KEPT_LOGIT_BYTES
    for request, hidden in zip(requests, hidden_states(model, requests), strict=True):
        found, used = _values(head, request, hidden, room, compiled)
        values.append(found)
        room -= used
    return values


def targets(request: Request) -> list[int]:
    """The predicted tokens of a request, row after row."""
    return [token for row in request.rows for token in map(row.ids.__getitem__, row.predicted(request.whole))]


def _values(
    head: Callable[[Tensor], Tensor], request: Request, hidden: Tensor, room: int, compiled: bool
) -> tuple[list[Tensor], int]:
    """The values of one request, and how many of `room` bytes its logits take until the backward."""
    wanted = _to(torch.tensor(targets(request), dtype=torch.long), hidden.device)
    if request.layer is not None:
        theirs = None if request.reference is None else _to(request.reference, hidden.device).float()
        return [function(hidden.float(), wanted, theirs) for function in request.functions], 0

    functions = [_compiled(function) for function in request.functions] if compiled else request.functions
    reference_head = request.reference_head

    def chunk(part: Tensor, target: Tensor, reference: Tensor | None) -> tuple[Tensor, ...]:
        logits = head(part)
        theirs = None if reference is None or reference_head is None else reference_head(reference)
        return tuple(function(logits, target, theirs) for function in functions)

    token_bytes = 4 * _vocabulary(head, hidden)
    size, used = max(1, LOGIT_BYTES // token_bytes), 0
    parts = []
    for at in range(0, max(len(wanted), 1), size):
        cut = slice(at, at + size)
        reference = None if request.reference is None else _to(request.reference[cut], hidden.device)
        args = (hidden[cut], wanted[cut], reference)
        bytes_ = token_bytes * len(wanted[cut]) * (1 if reference is None else 2)
        if used + bytes_ <= room or not torch.is_grad_enabled():
            parts.append(chunk(*args))
            used += bytes_
        else:
            parts.append(checkpoint(chunk, *args, use_reentrant=False))
    return [torch.cat(column) for column in zip(*parts, strict=True)], used


@cache
def _compiled(function: TokenFunction) -> TokenFunction:
    return torch.compile(function, dynamic=True)


@torch.no_grad()
def _vocabulary(head: Callable[[Tensor], Tensor], hidden: Tensor) -> int:
    return head(hidden[:0]).shape[-1]


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    """Move without making the host wait."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
