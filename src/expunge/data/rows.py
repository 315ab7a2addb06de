"""A row: what the model is asked (the prompt) and what it answers (the completion)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, InstanceOf, StrictStr, TypeAdapter, ValidationError

from expunge.data.pictures import COLUMN, Picture, read_picture, spoken
from expunge.errors import InputError


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation, and the pictures in it, in the order in which they stand."""

    role: Literal["system", "user", "assistant"]
    content: StrictStr
    pictures: tuple[InstanceOf[Picture], ...] = ()

    @property
    def told(self) -> list[Any]:
        """All of it, as JSON can hold it: what digests of rows are made of."""
        pictures = [[[picture.digest, picture.at] for picture in self.pictures]] if self.pictures else []
        return [self.role, self.content, *pictures]


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
    def key(self) -> tuple[tuple[tuple[str, str, tuple[Picture, ...]], ...], str]:
        """What makes two rows the same row: prompt with its pictures, and completion, white space at the ends aside."""
        return tuple((t.role, t.content.strip(), t.pictures) for t in self.turns), self.completion.strip()


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


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must be text that is not empty")
    return text


def _spoken(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    for i, turn in enumerate(turns):
        if turn.role != "system" and not turn.content.strip():
            raise ValueError(f"must be text that is not empty at turn {i}, 'content'")
    return turns


def _asking(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if not turns or turns[-1].role != "user":
        raise ValueError("must end with a user turn")
    return turns


def _answered(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if [turn.role for turn in turns[-2:]] != ["user", "assistant"]:
        raise ValueError("must end with an assistant turn that follows a user turn")
    return turns


def _answering(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if [turn.role for turn in turns] != ["assistant"]:
        raise ValueError("must be text or a list of one assistant turn")
    return turns


def _no_list_as_text(value: Any) -> Any:
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        raise ValueError("is a list written as text; CSV holds no lists: use JSON Lines or Parquet")
    return value


Turns = Annotated[tuple[Turn, ...], AfterValidator(_spoken)]
TEXT = TypeAdapter(Annotated[StrictStr, AfterValidator(_not_blank)])
QUESTION = TypeAdapter(Annotated[Turns, AfterValidator(_asking)])
ANSWER = TypeAdapter(Annotated[Turns, AfterValidator(_answering)])
CONVERSATION = TypeAdapter(Annotated[Turns, AfterValidator(_answered)])
# Columns that metrics use, where a row has them; null: the text is missing.
MAY_BE_MISSING = TypeAdapter(StrictStr | None)
MAY_BE_SEVERAL = TypeAdapter(Annotated[StrictStr | list[StrictStr] | None, AfterValidator(_no_list_as_text)])
METRIC_COLUMNS: dict[str, TypeAdapter[Any]] = {
    "paraphrased_answer": MAY_BE_MISSING,
    "paraphrased_question": MAY_BE_MISSING,
    "perturbed_answer": MAY_BE_SEVERAL,
    "original_answer": MAY_BE_MISSING,
    "golden_answer": MAY_BE_MISSING,
    "right_answer": MAY_BE_MISSING,
    "hallucinated_answer": MAY_BE_MISSING,
    "fact": MAY_BE_MISSING,
}
LAYOUTS = (("prompt", "completion"), ("question", "answer"), ("messages",), ("text",))


def parse_row(
    record: Mapping[str, Any], where: str, columns: tuple[str, str] | None = None, home: Path | None = None
) -> Row:
    """Read one record of any accepted layout.

    Args:
        record: Columns by name: `prompt`+`completion`, `question`+`answer`, `messages`, or `text`; and perhaps `image`.
        where: What to call the record in errors, e.g. "forget.jsonl, row 3".
        columns: Of the prompt and the completion, where the layout is none of these.
        home: The folder that paths of pictures start from.

    Raises:
        InputError: No accepted set of columns is present, or a value cannot be used; the message names the column.
    """
    layouts = LAYOUTS if columns is None else (columns,)
    used = next((layout for layout in layouts if all(name in record for name in layout)), None)
    if used is None:
        needed = ", or ".join(" and ".join(map(repr, layout)) for layout in layouts)
        raise InputError(f"{where}: no usable columns. Found {sorted(map(str, record))}; needed {needed}.")
    rest = {name: value for name, value in record.items() if name not in used and name != COLUMN}
    for name, adapter in METRIC_COLUMNS.items():
        if name in rest:
            _checked(adapter, rest[name], where, name)
    image = record.get(COLUMN)
    own = [] if image is None else [read_picture(image, f"{where}: column {COLUMN!r}", home)]

    def turns_of(adapter: TypeAdapter[Any], value: Any, column: str) -> tuple[Turn, ...]:
        value = spoken(value, own, where, home) if isinstance(value, list) else value
        return _checked(adapter, value, where, column)

    if used == ("messages",):
        *asked, last = turns_of(CONVERSATION, record["messages"], "messages")
        return Row(_shown(asked, own, last, where), last.content, rest)
    if used == ("text",):
        if own:
            raise InputError(f"{where}: plain text has no place for a picture: give 'question' and 'answer' with it.")
        return Row((), _checked(TEXT, record["text"], where, "text"), rest)
    (prompt, question), (completion, answer) = ((name, record[name]) for name in used)
    turns = (
        turns_of(QUESTION, question, prompt)
        if isinstance(question, list)
        else (Turn("user", _checked(TEXT, question, where, prompt)),)
    )
    last = None
    if isinstance(answer, list):  # the conversational prompt/completion layout
        last = turns_of(ANSWER, answer, completion)[0]
        answer = last.content
    return Row(_shown(turns, own, last, where), _checked(TEXT, answer, where, completion), rest)


def _shown(turns: Sequence[Turn], own: Sequence[Picture], last: Turn | None, where: str) -> tuple[Turn, ...]:
    """The prompt's turns; a picture of the row that no part has taken stands before what the user says first."""
    if last is not None and last.pictures:
        raise InputError(f"{where}: a picture in the answer, and models answer in text.")
    if not own:
        return tuple(turns)
    first = next(i for i, turn in enumerate(turns) if turn.role == "user")
    before = replace(turns[first], pictures=(*own, *turns[first].pictures))
    return (*turns[:first], before, *turns[first + 1 :])


# In words of files, by pydantic's type of error.
WRONG = {
    "string_type": "must be text",
    "tuple_type": "must be a list of {'role', 'content'} turns",
    "list_type": "must be text or a list of texts",
    "dataclass_type": "must be an object with 'role' and 'content'",
    "missing": "is missing",
    "literal_error": "must be one of system, user, assistant",
}
KINDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def _checked(adapter: TypeAdapter[Any], value: Any, where: str, column: str) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        wrong = max(error.errors(include_url=False), key=lambda one: len(one["loc"]))
    unit = "item" if column in METRIC_COLUMNS else "turn"
    kinds = ("str", "list[str]")  # pydantic names the alternatives among the places
    path = [part for part in wrong["loc"] if part not in kinds]
    place = "".join(f", {unit} {part}" if isinstance(part, int) else f", {part!r}" for part in path)
    found = "" if wrong["type"] in ("missing", "value_error") else f", not {KINDS.get(type(wrong['input']), 'text')}"
    says = WRONG.get(wrong["type"], wrong["msg"].removeprefix("Value error, "))
    if wrong["type"] == "literal_error":
        found = f", not {str(wrong['input'])[:30]!r}"
    raise InputError(f"{where}: column {column!r}{place} {says}{found}.")
