"""Rows to token ids, with the model's own chat template, in training and generation alike.

Rows are encoded many at a time: a tokenizer takes a batch on every core, with the same ids as one by one.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from expunge.data.processors import Pixels, message, pixels_of, processor_of, with_placeholders
from expunge.data.rows import Row, Turn
from expunge.data.style import PromptStyle, pinned
from expunge.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 2048  # given to the tokenizer together


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a prompt and its completion.

    Attributes:
        ids: The whole row, without padding.
        start: Position of the first completion token, at least 1: position 0 has no prediction.
        pixels: The pictures in its prompt, if there are any.
    """

    ids: tuple[int, ...]
    start: int
    pixels: Pixels | None = None

    @property
    def completion_tokens(self) -> int:
        """How many tokens the completion has, the end-of-turn token included."""
        return len(self.ids) - self.start

    def predicted(self, whole: bool) -> Sequence[int]:
        """Positions of the tokens to be predicted: the completion's; or of the whole row, but for the first token and
        those that stand for pictures."""
        if not whole or self.pixels is None:
            return range(1 if whole else self.start, len(self.ids))
        return [position for position in range(1, len(self.ids)) if self.ids[position] != self.pixels.token]


def encode(
    tokenizer: PreTrainedTokenizerBase,
    row: Row,
    completion: str | None = None,
    max_length: int | None = None,
    style: PromptStyle = PromptStyle(),
) -> Encoded:
    """Encode a row's prompt with its completion, or with another one; see `encode_all`."""
    return encode_all(tokenizer, [(row, completion)], max_length, style)[0]


def encode_all(
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[Row, str | None]],
    max_length: int | None = None,
    style: PromptStyle = PromptStyle(),
    known: Mapping[str, Sequence[int]] | None = None,
) -> list[Encoded]:
    """Encode rows' prompts with their completions, or with others.

    The completion starts where the tokenised prompt stops being a common prefix of the whole. The end-of-turn token the
    template writes is the last token, exactly once; what the template writes after it is dropped. Plain text has no
    template: a passage's opening is continued by its own completion as it stands, by another after a space.

    Args:
        tokenizer: With or without a chat template.
        asked: Rows, each with a completion in place of its own (e.g. a refusal), or None.
        max_length: The longest row allowed, in tokens. Longer completions are cut at the end; plain text must be cut
            into rows by `windows` first.
        style: How conversations are written.
        known: Token ids of plain texts that were worked out before, special tokens included.

    Raises:
        InputError: A prompt alone fills `max_length`, or the template cannot write a conversation.
    """
    prompts = encode_prompts(tokenizer, [row for row, _ in asked], style)
    wholes = _wholes(tokenizer, asked, style, known or {})
    ending = _ending(tokenizer, style) if any(row.turns for row, _ in asked) else None
    encoded = []
    for (row, _), prompt, ids in zip(asked, prompts, wholes, strict=True):
        start = max(1, _common_prefix(prompt, ids)) if row.turns or row.opening else 1
        if row.turns and ending:
            ids = _through_end_of_turn(ids, start, ending)
        if max_length is not None and len(ids) > max_length:
            if start >= max_length:
                raise InputError(
                    f"The prompt {row.prompt[:60]!r} has {start} tokens and fills the context of {max_length}. "
                    "Shorten the prompt or raise the maximum length."
                )
            ids = ids[:max_length]
        encoded.append(Encoded(tuple(ids), start, pixels_of(tokenizer, row)))
    return encoded


def encode_prompt(tokenizer: PreTrainedTokenizerBase, row: Row, style: PromptStyle = PromptStyle()) -> list[int]:
    """Token ids of the prompt alone, ending where the model is to answer."""
    return encode_prompts(tokenizer, [row], style)[0]


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], style: PromptStyle = PromptStyle()
) -> list[list[int]]:
    """Token ids of each row's prompt alone, ending where the model is to answer; of plain text, what begins a text."""
    turns = list(dict.fromkeys(row.turns for row in rows if row.turns))
    openings = list(dict.fromkeys(row.opening for row in rows if row.opening))
    of_turns = dict(zip(turns, _written(tokenizer, turns, style, generation=True), strict=True))
    of_openings = dict(zip(openings, token_ids(tokenizer, openings, special=True), strict=True))
    nothing = [] if tokenizer.bos_token_id is None else [cast(int, tokenizer.bos_token_id)]
    return [
        of_turns[row.turns] if row.turns else of_openings[row.opening] if row.opening else list(nothing) for row in rows
    ]


def end_of_turn(tokenizer: PreTrainedTokenizerBase, style: PromptStyle = PromptStyle()) -> int:
    """The token that ends an answer: what the chat template writes after it, else the end-of-sequence token.

    Raises:
        InputError: There is neither.
    """
    return _ending(tokenizer, style).token


def _wholes(
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[tuple[Row, str | None]],
    style: PromptStyle,
    known: Mapping[str, Sequence[int]],
) -> list[Sequence[int]]:
    """Token ids of each row with its completion, up to wherever the template goes."""
    talks = [(*row.turns, Turn("assistant", _completion(row, text))) for row, text in asked if row.turns]
    written = iter(_written(tokenizer, talks, style, generation=False))
    texts = [None if row.turns else row.opening + _completion(row, text) for row, text in asked]
    new = [text for text in dict.fromkeys(texts) if text is not None and text not in known]
    fresh: dict[str, Sequence[int]] = dict(zip(new, token_ids(tokenizer, new, special=True), strict=True))
    ids_of = ChainMap(fresh, dict(known))
    return [next(written) if text is None else ids_of[text] for text in texts]


def _completion(row: Row, given: str | None) -> str:
    """What follows the prompt: the row's own completion, or a given one, apart from a passage's opening."""
    if given is None:
        return row.completion
    apart = row.opening and not (row.opening[-1].isspace() or given[:1].isspace())
    return f" {given}" if apart else given


def _written(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Turn]], style: PromptStyle, generation: bool
) -> list[list[int]]:
    """Token ids of conversations as the template writes them, to be answered or with their answers."""
    if processor := processor_of(tokenizer):
        ids = token_ids(tokenizer, _rendered(tokenizer, conversations, style, generation), special=False)
        return [with_placeholders(processor, own, turns) for own, turns in zip(ids, conversations, strict=True)]
    texts = _rendered(tokenizer, conversations, style, generation)
    bos = cast(str | None, tokenizer.bos_token)
    if style.template is None or not bos:
        return token_ids(tokenizer, texts, special=False)
    # A model trained on plain strings saw the text after the first token tokenised as a text's beginning.
    whole = list(texts)
    rest = token_ids(tokenizer, [text.removeprefix(bos) for text in whole], special=False)
    begin = cast(int, tokenizer.bos_token_id)
    return [[begin, *ids] if text.startswith(bos) else ids for text, ids in zip(whole, rest, strict=True)]


def _rendered(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Sequence[Turn]], style: PromptStyle, generation: bool
) -> Iterator[str]:
    """Conversations as the template writes them, one after the other."""
    template = style.text_for(tokenizer) if conversations else ""
    text, settings = pinned(template), style.settings_for(template)
    prompt = [Turn("system", style.system)] if style.system else []
    for turns in conversations:
        messages = as_messages(tokenizer, turns if turns[0].role == "system" else [*prompt, *turns], style)
        try:
            yield cast(
                str,
                tokenizer.apply_chat_template(
                    messages, chat_template=text, tokenize=False, add_generation_prompt=generation, **settings
                ),
            )
        except Exception as error:  # a template is a program that comes with a model: it can fail in any way
            raise InputError(f"The chat template cannot write this conversation: {error}") from error


def as_messages(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], style: PromptStyle = PromptStyle()
) -> list[dict[str, Any]]:
    """A conversation as a model's own chat template takes it, or one that is given in its place.

    Raises:
        InputError: It has a picture, and the model takes none.
    """
    in_parts = style.template is None and bool(tokenizer.chat_template)
    return [message(turn, processor_of(tokenizer), in_parts) for turn in turns]


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], special: bool) -> list[list[int]]:
    """Token ids of texts, with the special tokens that the tokenizer adds to any text, or without.

    A thread tokenises one batch while the next one is being written.
    """
    coming = iter(texts)
    batches = iter(lambda: list(islice(coming, TEXTS_AT_ONCE)), [])

    def ids_of(batch: list[str]) -> list[list[int]]:
        options: dict[str, Any] = {"return_attention_mask": False, "return_token_type_ids": False}
        return cast(list[list[int]], tokenizer(batch, add_special_tokens=special, **options)["input_ids"])

    with _every_core(), ThreadPoolExecutor(1) as pool:
        return [ids for batch in pool.map(ids_of, batches) for ids in batch]


@contextmanager
def _every_core() -> Iterator[None]:
    """Let tokenizers use all cores; only for a while, for in a process that is forked later their threads are gone."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


class Ending(NamedTuple):
    """How a template ends an answer.

    Attributes:
        token: The end-of-turn token.
        suffix: What the template writes after any answer.
        position: Of the end-of-turn token in the suffix; None where it is not in it.
    """

    token: int
    suffix: tuple[int, ...]
    position: int | None


def _ending(tokenizer: PreTrainedTokenizerBase, style: PromptStyle) -> Ending:
    # The template is part of the key: a tokenizer's template can be replaced after its first use.
    return _ending_of(tokenizer, str(tokenizer.chat_template), style)


@lru_cache(maxsize=32)
def _ending_of(tokenizer: PreTrainedTokenizerBase, template: str, style: PromptStyle) -> Ending:
    """What two conversations with different answers end with in common, and the first special token in it."""
    conversations = [(Turn("user", "?"), Turn("assistant", answer)) for answer in ("0", "z")]
    one, other = _written(tokenizer, conversations, style, generation=False)
    suffix = tuple(one[len(one) - _common_prefix(one[::-1], other[::-1]) :])
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    position = next((i for i, token in enumerate(suffix) if token in special), None)
    token = tokenizer.eos_token_id if position is None else suffix[position]
    if token is None:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has neither an end-of-turn nor an end token.")
    return Ending(cast(int, token), suffix, position)


def _through_end_of_turn(ids: Sequence[int], start: int, ending: Ending) -> Sequence[int]:
    """Keep the ids up to and including the first special token that the template writes after the answer."""
    body = len(ids) - len(ending.suffix)
    if not ending.suffix or tuple(ids[body:]) != ending.suffix:
        # The answer's last token merged with the template's text; only white space can do that.
        last = max((i for i in range(start, len(ids)) if ids[i] == ending.token), default=None)
        return [*ids, ending.token] if last is None else ids[: last + 1]
    return [*ids[:body], ending.token] if ending.position is None else ids[: body + ending.position + 1]
