"""Quantisation: fewer bits a weight may undo what small updates did (arXiv 2410.16454).

The model is loaded as a user would load it to save memory: int8 and nf4 by bitsandbytes, and with the weights of its
linear layers rounded to the nearest of 16 levels in blocks. Asked as ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from expunge.attacks.ask import Values, ask, rows_of
from expunge.attacks.base import NONE, Findings, NotMeasured, Subject
from expunge.data import fitting
from expunge.errors import InputError
from expunge.models import context_length, load_model

NAME = "quantize"
BITSANDBYTES = ("int8", "nf4")
BITS, BLOCK = 4, 64
ROUNDED = f"rtn{BITS}"


def run(subject: Subject) -> Findings:
    """The attack of `expunge attack --attack quantize`."""

    def measured(model: PreTrainedModel, tokenizer: Any) -> Values:
        rows = fitting(tokenizer, subject.data.forget, context_length(model.config))
        return ask(model, tokenizer, rows, subject.style, progress=subject.progress)

    model, tokenizer = subject.load()
    before = measured(model, tokenizer)
    found = Findings(rows_of(NAME, NONE, subject.role, before))
    if linear_weights(model):
        with rounded(model):
            found.rows += rows_of(NAME, ROUNDED, subject.role, measured(model, tokenizer), before)
    else:
        found.not_measured.append(NotMeasured(NAME, ROUNDED, subject.role, "the model has no linear layers to round"))
    if not isinstance(subject.place, str | Path):
        reason = "the model is given loaded; bitsandbytes quantizes while loading from a folder"
        found.not_measured += [NotMeasured(NAME, bits, subject.role, reason) for bits in BITSANDBYTES]
        return found
    del model
    subject.release()
    for bits in BITSANDBYTES:
        try:
            small, words = load_model(subject.place, device=subject.device, quantization=bits)
        except InputError as error:  # bitsandbytes is not there, or cannot do it here
            found.not_measured.append(NotMeasured(NAME, bits, subject.role, str(error)))
            continue
        found.rows += rows_of(NAME, bits, subject.role, measured(small, words), before)
        del small
    return found


@contextmanager
def rounded(model: PreTrainedModel) -> Iterator[None]:
    """Round a model's linear layers in the block; their weights are as before when it ends."""
    weights = linear_weights(model)
    before = [weight.detach().to("cpu", copy=True) for weight in weights]
    try:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(round_to_nearest(weight))
        yield
    finally:
        with torch.no_grad():
            for weight, values in zip(weights, before, strict=True):
                weight.copy_(values)


def linear_weights(model: PreTrainedModel) -> list[Tensor]:
    """The weights that quantisation makes smaller: those of linear layers, the output head aside."""
    head = model.get_output_embeddings()
    return [m.weight for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]


def round_to_nearest(weight: Tensor, bits: int = BITS, block: int = BLOCK) -> Tensor:
    """Weights [out, in] rounded to 2**bits evenly spaced levels between the extremes of each block of a row."""
    flat = weight.detach().float()
    padding = -flat.shape[1] % block
    blocks = torch.nn.functional.pad(flat, (0, padding), mode="replicate" if padding else "constant")
    blocks = blocks.unflatten(1, (-1, block))
    low, high = blocks.amin(-1, keepdim=True), blocks.amax(-1, keepdim=True)
    step = ((high - low) / (2**bits - 1)).clamp(min=torch.finfo(torch.float32).tiny)
    rounded = ((blocks - low) / step).round() * step + low
    return rounded.flatten(1)[:, : flat.shape[1]].to(weight.dtype)
