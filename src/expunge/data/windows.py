"""Long plain text cut into windows of the model's context, in little more than one pass of the tokenizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from expunge.data.chat import token_ids
from expunge.data.rows import Row
from expunge.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TYPICAL, LONGEST = 4, 12  # characters of a token, on the average of a text: what could fit is tried as a whole first
SECTION = 32  # contexts of typical tokens: longer texts are cut into sections that are worked on side by side
REACH = 0.25  # of a window is looked through for white space to cut at
AS_MEANT = 0.7  # a window with a smaller share of the tokens that it was meant to have is tried again, longer


@dataclass
class _Rest:
    """What is left of a text: from `begin` on. The next window's size is guessed from the density of the last one.

    Attributes:
        text: All of it.
        begin: Where the next window begins.
        per_token: Characters of a token, once that is known.
        too_long: Characters that were too many for the next window.
        found: The windows before.
    """

    text: str
    begin: int = 0
    per_token: float | None = None
    too_long: int | None = None
    found: list[str] = field(default_factory=list)

    def attempt(self, room: int) -> str:
        """The next window, if it has room: all that is left, or an equal share of it."""
        left = len(self.text) - self.begin
        if self.too_long is None and left <= (self.per_token or LONGEST) * 1.1 * room:
            return self.text[self.begin :]
        fill = max(0.5, 1 - 1 / math.sqrt(max(room, 1)))  # tokens are spread unevenly, over short windows more so
        size = left / max(2, math.ceil(left / ((self.per_token or TYPICAL) * fill * room)))
        size = max(1, int(min(size, 0.9 * (self.too_long or math.inf))))
        return self.text[self.begin : _after_space(self.text, self.begin, self.begin + size)]

    def judge(self, window: str, tokens: int, room: int) -> bool:
        """Whether an attempt is taken; if not, the next one will be shorter, or longer."""
        meant = len(window) / (self.per_token or TYPICAL)
        self.per_token = len(window) / max(1, tokens)
        at_end = self.begin + len(window) == len(self.text)
        if tokens > room:
            if len(window) == 1:
                raise InputError(
                    f"The character {window!r} has {tokens} tokens, and a row may have {room}. Allow more."
                )
            self.too_long = len(window)
            return False
        if self.too_long is None and tokens < AS_MEANT * meant and not at_end:
            return False
        self.begin, self.too_long = self.begin + len(window), None
        self.found.append(window)
        return True


def windows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_length: int
) -> tuple[list[list[Row]], dict[str, list[int]]]:
    """Cut plain-text rows into rows of at most `max_length` tokens, so that nothing is truncated silently.

    A text that is too long is cut into windows of about equal size, after white space where there is some nearby.

    Args:
        tokenizer: Of the model.
        rows: Of plain text, or not: those with a prompt stay as they are.
        max_length: In tokens, special tokens included.

    Returns:
        The windows of each row, and the token ids of every window's text, as `encode_all` takes them.

    Raises:
        InputError: A single character has more tokens than that.
    """
    (special,) = token_ids(tokenizer, [""], special=True)
    room = max_length - len(special)
    rests = {
        i: [_Rest(text) for text in _sections(row.completion, SECTION * TYPICAL * max_length)]
        for i, row in enumerate(rows)
        if not row.turns and not row.opening
    }
    known: dict[str, list[int]] = {}
    pending = [rest for parts in rests.values() for rest in parts]
    while pending:
        attempts = [rest.attempt(room) for rest in pending]
        for rest, text, ids in zip(pending, attempts, token_ids(tokenizer, attempts, special=True), strict=True):
            if rest.judge(text, len(ids) - len(special), room):
                known[text] = ids
        pending = [rest for rest in pending if rest.begin < len(rest.text)]
    return [
        [replace(row, completion=text) for rest in rests[i] for text in rest.found] if i in rests else [row]
        for i, row in enumerate(rows)
    ], known


def _sections(text: str, size: int) -> list[str]:
    cuts = [0]
    while cuts[-1] + size < len(text):
        cuts.append(_after_space(text, cuts[-1], cuts[-1] + size))
    return [text[a:b] for a, b in pairwise([*cuts, len(text)])]


def _after_space(text: str, begin: int, end: int) -> int:
    """The last place near `end` that follows white space; `end` where there is none."""
    reach = int(REACH * (end - begin))
    return next((at for at in range(end, end - reach, -1) if text[at - 1].isspace()), end)


def fitting(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_length: int | None) -> list[Row]:
    """The rows, plain text of more than `max_length` tokens cut into several; None: no limit."""
    if max_length is None:
        return list(rows)
    return [part for parts in windows(tokenizer, rows, max_length)[0] for part in parts]
