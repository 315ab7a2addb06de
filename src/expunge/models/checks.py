"""What was loaded must be whole: every weight of its shape, finite, and no token without an embedding."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data.chat import as_messages
from expunge.data.rows import Turn
from expunge.errors import InputError

NAMED = 3  # weights that a message names
GREETING = (Turn("user", "Who?"), Turn("assistant", "Ada."))


def check_loading(path: str | Path, info: dict[str, Any]) -> None:
    """Refuse weights that are not those that the configuration describes; transformers would fill in random ones.

    Args:
        path: Of the model, for the message.
        info: What `from_pretrained(..., output_loading_info=True)` returns beside the model.

    Raises:
        InputError: Weights are missing, unexpected or of another shape.
    """
    shapes = (f"{name} is {_size(given)}, not {_size(wanted)}" for name, given, wanted in info["mismatched_keys"])
    check_keys(path, info["missing_keys"], info["unexpected_keys"], shapes)


def check_keys(path: str | Path, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[str] = ()) -> None:
    """Refuse missing or unexpected weights, or some of another shape.

    Raises:
        InputError: There are any; the message names them.
    """
    found = {"of another shape": list(shapes), "missing": sorted(missing), "unexpected": sorted(unexpected)}
    if not any(found.values()):
        return
    parts = [f"{words}: {_some(names)}" for words, names in found.items() if names]
    raise InputError(f"{path}: its weights are not those that its configuration describes; {'; '.join(parts)}.")


def check_finite_weights(path: str | Path, model: nn.Module) -> None:
    """Refuse weights that are not numbers.

    Raises:
        InputError: Naming the first one.
    """
    if name := not_finite(model):
        raise InputError(f"{path}: the weight {name} is not finite, so nothing it computes would mean anything.")


@torch.no_grad()
def not_finite(model: nn.Module) -> str | None:
    """The first weight with a value that is not finite, of those that this process holds."""
    floating = ((name, weight) for name, weight in model.named_parameters() if weight.is_floating_point())
    return next((name for name, weight in floating if not bool(local(weight).isfinite().all())), None)


def local(weight: Tensor) -> Tensor:
    """This process's part of a weight."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def check_tokenizer(path: str | Path, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a chat template that cannot be filled in, and tokens that have no embedding.

    Special tokens that nothing uses may lie beyond the embedding: some published models have such a padding token.

    Raises:
        InputError: Naming what does not fit.
    """
    rows = len(cast(nn.Embedding, model.get_input_embeddings()).weight)
    used = list(tokenizer("Who? Ada.").input_ids)
    if tokenizer.chat_template:
        try:
            text = cast(str, tokenizer.apply_chat_template(as_messages(tokenizer, GREETING), tokenize=False))
        except Exception as error:  # whatever a template's author lets it raise
            raise InputError(f"{path}: its chat template cannot be filled in ({error}).") from error
        used += tokenizer(text, add_special_tokens=False).input_ids
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    beyond = {token for token, number in tokenizer.get_vocab().items() if number >= rows}
    if beyond - special or max(used) >= rows:
        raise InputError(
            f"{path}: its tokenizer has {len(beyond)} token(s) beyond the model's embedding of {rows} rows, e.g. "
            f"{min(beyond - special or beyond)!r}. Model and tokenizer do not belong together."
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
