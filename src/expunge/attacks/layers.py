"""The states between a decoder's layers: read, or replaced by another model's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.errors import InputError
from expunge.models import decoder_layers
from expunge.models.batching import by_length

BATCH_TOKENS = {"cpu": 4096, "cuda": 16384}

Layer = Callable[[int, Tensor], Tensor]
"""(number of the layer, its output [rows, tokens, width]) -> what the next layer sees."""


def run_layers(
    model: PreTrainedModel, rows: Sequence[Encoded], at: Callable[[list[int]], Layer]
) -> Iterator[list[int]]:
    """Run rows through a decoder, batch by batch, each layer's output handed to a function.

    Args:
        model: with its layers where Llama has them.
        rows: padded on the right, where causal attention does not look.
        at: from the row numbers of a batch to its function.

    Yields:
        The row numbers of a batch, when it has run.

    Raises:
        InputError: the architecture keeps its layers elsewhere, or a row has a picture.
    """
    if any(row.pixels for row in rows):
        raise InputError("Attacks that look inside a model read rows of text alone, and there are rows with pictures.")
    decoder, layers = model.get_decoder(), decoder_layers(model)
    budget = BATCH_TOKENS["cpu" if model.device.type == "cpu" else "cuda"]
    for members in by_length([len(row.ids) for row in rows], budget):
        width = len(rows[members[0]].ids)
        ids = torch.zeros(len(members), width, dtype=torch.long)
        for line, i in enumerate(members):
            ids[line, : len(rows[i].ids)] = torch.tensor(rows[i].ids)
        with torch.inference_mode(), _watched(layers, at(members)):
            decoder(input_ids=ids.to(model.device), use_cache=False)
        yield members


def layer_count(model: PreTrainedModel) -> int:
    """How many layers there are."""
    return len(decoder_layers(model))


@contextmanager
def _watched(layers: Any, layer: Layer) -> Iterator[None]:
    def hook(number: int) -> Callable[..., Any]:
        def change(module: Any, inputs: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (layer(number, output[0]), *output[1:])
            return layer(number, output)

        return change

    handles = [module.register_forward_hook(hook(number)) for number, module in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
