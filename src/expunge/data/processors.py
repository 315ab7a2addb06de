"""Processors of vision-language models: where pictures stand among a row's tokens, and what a vision tower is given.

A processor goes where its tokenizer goes: whoever has the one finds the other (`processor_of`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from expunge.data.pictures import Picture, digest, opened_picture, pieces
from expunge.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

    from expunge.data.rows import Row, Turn

BESIDE = "expunge_processor"  # attribute of a tokenizer
TOKENS = ("input_ids", "attention_mask", "mm_token_type_ids")  # of what a processor returns; the rest is for the tower
PICTURES_KEPT = 256  # processed ones


def tokenizer_of(processor: ProcessorMixin) -> PreTrainedTokenizerBase:
    """A processor's tokenizer, which from now on has its processor beside it."""
    tokenizer = cast(Any, processor).tokenizer
    setattr(tokenizer, BESIDE, processor)
    return tokenizer


def processor_of(tokenizer: PreTrainedTokenizerBase) -> Any:
    """The processor beside a tokenizer; None for a language model's."""
    return vars(tokenizer).get(BESIDE)


@dataclass(frozen=True)
class Pixels:
    """The pictures of a row, in order; two are equal if the files are.

    Attributes:
        pictures: Their files.
        processor: Of the model.
    """

    pictures: tuple[bytes, ...]
    processor: Any = field(compare=False, repr=False)

    @property
    def token(self) -> int:
        """The token that stands for a piece of a picture."""
        return self.processor.image_token_id

    @property
    def digests(self) -> list[str]:
        """Hashes of the files; not salted."""
        return [digest(data) for data in self.pictures]

    @property
    def inputs(self) -> list[Mapping[str, Tensor]]:
        """What the vision tower is given for each picture."""
        return [_processed(self.processor, data)[1] for data in self.pictures]


def pixels_of(tokenizer: PreTrainedTokenizerBase, row: Row) -> Pixels | None:
    """A row's pictures for a model; None where it has none."""
    pictures = tuple(picture.data for turn in row.turns for picture in turn.pictures)
    return Pixels(pictures, processor_of(tokenizer)) if pictures else None


@lru_cache(maxsize=PICTURES_KEPT)
def _processed(processor: Any, data: bytes) -> tuple[tuple[int, ...], dict[str, Tensor]]:
    """The tokens that stand for a picture, and what the vision tower is given."""
    found = processor(
        text=processor.image_token, images=[opened_picture(data)], return_tensors="pt", add_special_tokens=False
    )
    return tuple(found["input_ids"][0].tolist()), {k: v for k, v in found.items() if k not in TOKENS}


def message(turn: Turn, processor: Any, in_parts: bool) -> dict[str, Any]:
    """A turn as chat templates take it.

    Args:
        turn: Of a conversation.
        processor: Of a vision-language model, else None.
        in_parts: Whether the template takes parts, as those of vision-language models do; else pictures are marked by
            their token in the text.

    Raises:
        InputError: A picture, and a model that takes none.
    """
    if processor is None:
        if turn.pictures:
            raise InputError("A row with a picture, and this model takes none: it has no processor.")
        return {"role": turn.role, "content": turn.content}
    found = list(pieces(turn.content, turn.pictures))
    if not in_parts:
        text = "".join(processor.image_token if isinstance(piece, Picture) else piece for piece in found)
        return {"role": turn.role, "content": text}
    parts = [{"type": "image"} if isinstance(one, Picture) else {"type": "text", "text": one} for one in found]
    return {"role": turn.role, "content": parts or [{"type": "text", "text": ""}]}


def with_placeholders(processor: Any, ids: Sequence[int], turns: Sequence[Turn]) -> list[int]:
    """Token ids of a conversation in which each picture's single token is replaced by all that stand for it.

    Raises:
        InputError: The text has more or fewer picture tokens than there are pictures.
    """
    token, pictures = processor.image_token_id, [picture for turn in turns for picture in turn.pictures]
    if (found := sum(one == token for one in ids)) != len(pictures):
        raise InputError(
            f"The conversation has {len(pictures)} picture(s) and {found} of the token {processor.image_token!r}: text "
            "must not contain it, and the chat template must write it for each picture."
        )
    coming = iter(pictures)
    spread: list[int] = []
    for one in ids:
        spread.extend(_processed(processor, next(coming).data)[0] if one == token else (one,))
    return spread
