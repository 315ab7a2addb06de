"""Vision-language models: what their forward takes beside tokens, and which of their weights see pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from expunge.data.processors import Pixels


@dataclass(frozen=True)
class Family:
    """How an architecture takes the pictures of several rows at once.

    Attributes:
        along: The dimension along which pictures follow each other.
        grid: Whether tokens have three positions: in time, height and width (Qwen's M-RoPE).
    """

    along: int = 0
    grid: bool = False


FAMILIES: dict[str, Family] = {
    "llava": Family(),
    "qwen2_5_vl": Family(grid=True),
    "idefics3": Family(along=1),
    "smolvlm": Family(along=1),
}
"""Architectures with pictures, by `model_type`; any other one is read as a language model."""


def sees(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration is a vision-language model that expunge knows."""
    return config.model_type in FAMILIES


def picture_inputs(
    model: PreTrainedModel, ids: Tensor, pixels: Sequence[Pixels], mask: Tensor | None = None
) -> dict[str, Tensor]:
    """What `model.base_model` takes beside the tokens of rows with pictures.

    Args:
        model: Of one of the `FAMILIES`.
        ids: Token ids [rows, width]; padding is no token that stands for a picture.
        pixels: Of the rows that have pictures, in order; at least one.
        mask: Which of the ids are no padding [rows, width]; default: padding comes last, and is not looked at.
    """
    family = FAMILIES[model.config.model_type]
    pictures = [inputs for row in pixels for inputs in row.inputs]
    given = {
        name: torch.cat([inputs[name] for inputs in pictures], family.along).to(ids.device) for name in pictures[0]
    }
    if family.grid:
        kinds = (ids == pixels[0].token).int()
        grid = given["image_grid_thw"]
        reader: Any = model.base_model
        given["position_ids"], _ = reader.get_rope_index(ids, kinds, grid, attention_mask=mask)
    return given


def padding_for(pixels: Sequence[Pixels]) -> int:
    """A token that pads rows with pictures, or others: none that stands for a picture."""
    return int(any(row.token == 0 for row in pixels))


def vision_parameters(model: PreTrainedModel) -> Iterator[nn.Parameter]:
    """The weights that see pictures: the tower's, and of what leads from it to the language model."""
    return (parameter for name, parameter in model.named_parameters() if name.startswith(vision_modules(model)))


def vision_modules(model: PreTrainedModel) -> tuple[str, ...]:
    """The names, each with a full stop, of the parts of a vision-language model beside the language model."""
    names = {id(module): f"{name}." for name, module in model.named_modules()}
    decoder = model.get_decoder()
    return tuple(names[id(part)] for part in model.base_model.children() if part is not decoder)
