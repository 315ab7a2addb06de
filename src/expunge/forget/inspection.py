"""The first look at a request: what the model is, where its knowledge may have come from, how it can be trained."""

from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.errors import InputError
from expunge.models import base_below, best_device, context_length, fingerprint, is_adapter, resolve_folder
from expunge.training.memory import available_bytes

FULL_BYTES = 16
"""A parameter in float32 with its gradient and AdamW's two moments."""
ROOM = 0.6
"""The share of the memory that these may take; the rest is for activations."""
MOST_FULL = 1_000_000_000
"""Above so many parameters an adapter is the default."""


@dataclass(frozen=True)
class Inspection:
    """What a model is.

    Attributes:
        family: transformers' model type.
        parameters: How many.
        context: Its longest row in tokens; None: unlimited.
        template: Whether its tokenizer has a chat template.
        dtype: Of the weights in its files.
        base: The model below its adapter, or the one that was given as its base.
        adapter: Train an adapter, not all weights.
        fingerprint: Of its weights.
        notes: What there is to say, in plain words.
    """

    family: str
    parameters: int
    context: int | None
    template: bool
    dtype: str
    base: str | None
    adapter: bool
    fingerprint: str
    notes: list[str] = field(default_factory=list)


def inspect(
    place: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base: str | None, adapter: bool | None
) -> Inspection:
    """Look at a loaded target.

    Args:
        place: Where it was loaded from.
        model: In float32.
        tokenizer: Its own.
        base: The model it was fine-tuned from, if that is known.
        adapter: Whether to train an adapter; None: by size.
    """
    folder = resolve_folder(place)
    below = base_below(folder) if is_adapter(folder) else None
    parameters, notes = model.num_parameters(), []
    available = available_bytes(best_device())
    too_large = parameters > MOST_FULL or parameters * FULL_BYTES > ROOM * available
    if below is not None:
        notes.append(
            f"The model is an adapter on {below}. If the rows came in through it, and nothing it holds must stay, the "
            f"model below is the answer, and exact. So is an adapter trained again without the rows."
        )
    if base is not None or below is not None:
        notes.append(f"Removal towards {base or below} is tried first where rows that must stay are given (--retain).")
    if adapter is None and too_large:
        notes.append(f"An adapter is trained: all of {parameters:,} weights would take too much memory, or time.")
    dtype = str(getattr(model.config, "dtype", None) or model.dtype).removeprefix("torch.")
    return Inspection(
        family=model.config.model_type,
        parameters=parameters,
        context=context_length(model.config),
        template=tokenizer.chat_template is not None,
        dtype=dtype,
        base=base or (None if below is None else str(below)),
        adapter=too_large if adapter is None else adapter,
        fingerprint=fingerprint(model),
        notes=notes,
    )


def check_same(found: Inspection, weights: str, place: str) -> None:
    """Refuse a target that is not the one that was inspected.

    Raises:
        InputError: Its weights have another fingerprint.
    """
    if found.fingerprint != weights:
        raise InputError(
            f"{place}: its weights have changed since the request was begun. Begin again in another --out."
        )


def in_words(found: Inspection, place: str) -> str:
    """One line for the terminal."""
    template = "its own chat template" if found.template else "no chat template: plain questions and answers"
    trained = "an adapter is trained" if found.adapter else "all weights are trained"
    return (
        f"{Path(place).name}: {found.family}, {found.parameters:,} parameters ({found.dtype}), context "
        f"{found.context or 'unlimited'}, {template}; {trained}"
    )
