"""Rows to token ids, with the model's own chat template, in training and generation alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from expunge.data.rows import Row, Turn
from expunge.data.style import PromptStyle, pinned
from expunge.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a prompt and its completion.

    Attributes:
        ids: The whole row, without padding.
        start: Position of the first completion token, at least 1: position 0 has no prediction.
    """

    ids: tuple[int, ...]
    start: int

    @property
    def completion_tokens(self) -> int:
        """How many tokens the completion has, the end-of-turn token included."""
        return len(self.ids) - self.start


def encode(
    tokenizer: PreTrainedTokenizerBase,
    row: Row,
    completion: str | None = None,
    max_length: int | None = None,
    style: PromptStyle = PromptStyle(),
) -> Encoded:
    """Encode a row's prompt with its completion, or with another one.

    The completion starts where the tokenised prompt stops being a common prefix of the whole. The end-of-turn token the
    template writes is the last token, exactly once; what the template writes after it is dropped. Plain text has no
    template: a passage's opening is continued by its own completion as it stands, by another after a space.

    Args:
        tokenizer: With or without a chat template.
        row: Prompt and completion.
        completion: Used in place of the row's own, e.g. a refusal.
        max_length: The longest row allowed, in tokens. Longer completions are cut at the end; plain text must be cut
            into rows by `windows` first.
        style: How conversations are written.

    Raises:
        InputError: The prompt alone fills `max_length`, or the template cannot write this conversation.
    """
    text = row.completion if completion is None else completion
    if not row.turns:
        apart = row.opening and completion is not None and not (row.opening[-1].isspace() or text[:1].isspace())
        ids = tokenizer(row.opening + " " * bool(apart) + text)["input_ids"]
        start = max(1, _common_prefix(encode_prompt(tokenizer, row), ids)) if row.opening else 1
    else:
        ids = _render(tokenizer, (*row.turns, Turn("assistant", text)), style, generation=False)
        start = max(1, _common_prefix(encode_prompt(tokenizer, row, style), ids))
        ids = _through_end_of_turn(tokenizer, ids, start, style)
    if max_length is not None and len(ids) > max_length:
        if start >= max_length:
            raise InputError(
                f"The prompt {row.prompt[:60]!r} has {start} tokens and fills the context of {max_length}. "
                "Shorten the prompt or raise the maximum length."
            )
        ids = ids[:max_length]
    return Encoded(tuple(ids), start)


def encode_prompt(tokenizer: PreTrainedTokenizerBase, row: Row, style: PromptStyle = PromptStyle()) -> list[int]:
    """Token ids of the prompt alone, ending where the model is to answer."""
    if row.opening:
        return tokenizer(row.opening)["input_ids"]
    if not row.turns:
        return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return list(_prompt(tokenizer, str(tokenizer.chat_template), row.turns, style))


@lru_cache(maxsize=1024)
def _prompt(
    tokenizer: PreTrainedTokenizerBase, template: str, turns: tuple[Turn, ...], style: PromptStyle
) -> tuple[int, ...]:
    # A row's prompt is asked for once for each of its completions: answer, paraphrase, wrong answers, refusals. The
    # template is part of the key: a tokenizer's template can be replaced after its first use.
    return tuple(_render(tokenizer, turns, style, generation=True))


def end_of_turn(tokenizer: PreTrainedTokenizerBase, style: PromptStyle = PromptStyle()) -> int:
    """The token that ends an answer: what the chat template writes after it, else the end-of-sequence token."""
    suffix = _suffix(tokenizer, style)
    position = _end_in_suffix(tokenizer, suffix)
    if position is not None:
        return suffix[position]
    if tokenizer.eos_token_id is None:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has neither an end-of-turn nor an end token.")
    return tokenizer.eos_token_id


def windows(tokenizer: PreTrainedTokenizerBase, row: Row, max_length: int) -> list[Row]:
    """Cut a plain-text row into rows of at most `max_length` tokens each, so that nothing is truncated silently."""
    if row.turns or row.opening:
        return [row]
    special = len(tokenizer("")["input_ids"])
    pieces = _pieces(tokenizer, row.completion, max_length, max_length - special)
    return [Row((), piece, row.columns) for piece in pieces]


def _pieces(tokenizer: PreTrainedTokenizerBase, text: str, max_length: int, step: int) -> list[str]:
    """Cut text every `step` tokens; a piece that is longer when tokenised on its own is cut again, finer."""
    if len(tokenizer(text)["input_ids"]) <= max_length:
        return [text]
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    cuts = [offsets[i][0] for i in range(0, len(offsets), step)] + [len(text)]
    parts = [text[a:b] for a, b in pairwise(cuts) if b > a]
    return [piece for part in parts for piece in _pieces(tokenizer, part, max_length, max(1, step // 2))]


def _render(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], style: PromptStyle, generation: bool
) -> list[int]:
    template = style.text_for(tokenizer)
    if style.system and turns[0].role != "system":
        turns = (Turn("system", style.system), *turns)
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        text = tokenizer.apply_chat_template(
            messages,
            chat_template=pinned(template),
            tokenize=False,
            add_generation_prompt=generation,
            **style.settings_for(template),
        )
    except Exception as error:  # a template is a program that comes with a model: it can fail in any way
        raise InputError(f"The chat template cannot write this conversation: {error}") from error
    if style.template is not None and tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        # A model trained on plain strings saw the text after the first token tokenised as a text's beginning.
        rest = text.removeprefix(tokenizer.bos_token)
        return [tokenizer.bos_token_id, *tokenizer(rest, add_special_tokens=False)["input_ids"]]
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


@lru_cache(maxsize=32)
def _suffix_of(tokenizer: PreTrainedTokenizerBase, template: str, style: PromptStyle) -> tuple[int, ...]:
    """What the template writes after any answer: the common suffix of two conversations with different answers."""
    one, other = (
        _render(tokenizer, (Turn("user", "?"), Turn("assistant", answer)), style, generation=False)
        for answer in ("0", "z")
    )
    return tuple(one[len(one) - _common_prefix(one[::-1], other[::-1]) :])


def _suffix(tokenizer: PreTrainedTokenizerBase, style: PromptStyle) -> tuple[int, ...]:
    return _suffix_of(tokenizer, str(tokenizer.chat_template), style)


def _end_in_suffix(tokenizer: PreTrainedTokenizerBase, suffix: tuple[int, ...]) -> int | None:
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return next((i for i, token in enumerate(suffix) if token in special), None)


def _through_end_of_turn(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], start: int, style: PromptStyle
) -> list[int]:
    """Keep the ids up to and including the first special token that the template writes after the answer."""
    suffix = _suffix(tokenizer, style)
    if not suffix or tuple(ids[-len(suffix) :]) != suffix:
        # The answer's last token merged with the template's text; only white space can do that.
        end = end_of_turn(tokenizer, style)
        last = max((i for i in range(start, len(ids)) if ids[i] == end), default=None)
        return [*ids, end] if last is None else ids[: last + 1]
    position = _end_in_suffix(tokenizer, suffix)
    body = len(ids) - len(suffix)
    if position is None:
        return [*ids[:body], end_of_turn(tokenizer, style)]
    return ids[: body + position + 1]
