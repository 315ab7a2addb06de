"""The texts of a row that a set is about: what is asked, what is scored, what outputs are compared with."""

from expunge.data import Row
from expunge.evaluation.suites.suite import ANSWER, SetSpec


def question_of(row: Row, spec: SetSpec) -> str:
    """What a row asks: its last question, or the beginning of a passage that is to be continued."""
    return row.completion[: spec.continued] if is_passage(row, spec) else row.prompt


def answer_of(row: Row, spec: SetSpec) -> str:
    """The answer that is scored: the row's own, or the column that the set names."""
    return row.completion if spec.answer == ANSWER else row.columns[spec.answer]


def reference_of(row: Row, spec: SetSpec) -> str:
    """What outputs are compared with: the answer, or the rest of the passage that was to be continued."""
    return row.completion[spec.continued :] if is_passage(row, spec) else answer_of(row, spec)


def is_passage(row: Row, spec: SetSpec) -> bool:
    """Whether a row is plain text that the model continues."""
    return spec.continued is not None and not row.turns


def text_of(row: Row, column: str) -> str | None:
    """The text of a column, or the row's own completion for ANSWER; None where the row has none."""
    if column == ANSWER:
        return row.completion
    value = row.columns.get(column)
    return value if isinstance(value, str) and value.strip() else None


def texts_of(row: Row, column: str) -> tuple[str, ...]:
    """The texts of a list column; a single text is a list of one; empty where the row has none."""
    value = row.columns.get(column)
    values = [value] if isinstance(value, str) else value or []
    return tuple(text for text in values if isinstance(text, str) and text.strip())
