"""A row: what the model is asked (the prompt) and what it answers (the completion)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.errors import InputError


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation. `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a forget, retain or holdout set.

    Attributes:
        turns: The prompt, as a conversation. Empty for plain text.
        completion: What follows the prompt; the whole passage for plain text without an opening.
        columns: Every other column of the source, untouched, for the metrics that use them.
        opening: The beginning of a passage, where it serves as its prompt (see `opened`): plain text, to be continued.
    """

    turns: tuple[Turn, ...]
    completion: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    opening: str = ""

    @property
    def prompt(self) -> str:
        """The last thing the user said, or the opening of a passage; empty for plain text without one."""
        return self.turns[-1].content if self.turns else self.opening

    @property
    def key(self) -> tuple[tuple[tuple[str, str], ...], str]:
        """What makes two rows the same row: prompt and completion, white space at the ends aside."""
        return tuple((t.role, t.content.strip()) for t in self.turns), self.completion.strip()


def opened(row: Row, characters: int) -> Row:
    """A row of plain text with its beginning as its prompt, and the rest as its completion; other rows as they are.

    The prompt ends after white space where it can, so that any completion may follow it, and is at most half of the
    passage: a passage of a single character has none.

    Args:
        row: Of plain text, or not.
        characters: The longest prompt.
    """
    text = row.completion
    longest = min(characters, len(text.rstrip()) // 2)
    if row.turns or row.opening or not longest:
        return row
    first_word = len(text) - len(text.lstrip())
    cut = max((i for i in range(first_word + 1, longest + 1) if text[i - 1].isspace()), default=longest)
    return Row((), text[cut:], row.columns, text[:cut])


def parse_row(record: Mapping[str, Any], where: str) -> Row:
    """Read one record of any accepted layout.

    Args:
        record: Columns by name: `prompt`+`completion`, `messages`, `question`+`answer`, or `text`.
        where: What to call the record in errors, e.g. "forget.jsonl, row 3".

    Raises:
        InputError: No accepted set of columns is present, or one has the wrong type.
    """
    for prompt, completion in (("prompt", "completion"), ("question", "answer")):
        if prompt in record and completion in record:
            return Row(
                _turns(record[prompt], where, prompt),
                _completion(record[completion], where, completion),
                {k: v for k, v in record.items() if k not in (prompt, completion)},
            )
    if "messages" in record:
        turns = _turns(record["messages"], where, "messages")
        if len(turns) < 2 or turns[-1].role != "assistant":
            raise InputError(f"{where}: 'messages' must end with an assistant turn that follows a user turn.")
        return Row(turns[:-1], turns[-1].content, {k: v for k, v in record.items() if k != "messages"})
    if "text" in record:
        text = _completion(record["text"], where, "text")
        return Row((), text, {k: v for k, v in record.items() if k != "text"})
    raise InputError(
        f"{where}: no usable columns. Found {sorted(record)}; needed 'prompt' and 'completion', 'messages', "
        "'question' and 'answer', or 'text'."
    )


def _turns(value: Any, where: str, column: str) -> tuple[Turn, ...]:
    if isinstance(value, str):
        if not value.strip():
            raise InputError(f"{where}: {column!r} is empty. Use a 'text' column for rows without a prompt.")
        return (Turn("user", value),)
    if isinstance(value, Sequence):
        try:
            return tuple(Turn(str(turn["role"]), str(turn["content"])) for turn in value)
        except (KeyError, TypeError):
            pass
    raise InputError(f"{where}: {column!r} must be text or a list of {{'role', 'content'}} turns.")


def _completion(value: Any, where: str, column: str) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0].get("content")  # the conversational prompt/completion layout
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {column!r} must be text that is not empty.")
    return value
