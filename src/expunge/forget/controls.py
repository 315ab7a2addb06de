"""Controls: for each row, answers of the same form that no model was taught for its question.

Made from other rows: their facts, or their answers with this question's names, are put in the place of this row's. A
model that never learned the row has no reason to find the right answer likelier than these.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from expunge.data import Row

CONTROLS = 9
SAME_FORM = 0.6
"""Two questions have the same form where so much of their words is the same."""
PARTICULAR = re.compile(r"[A-Z0-9][\w'’.-]*(?:\s+(?:of\s+)?[A-Z0-9][\w'’.-]*)*")
"""A run of words that are capitalised or have digits: a name, a place, a date."""


def controls(rows: Sequence[Row], pool: Sequence[Sequence[Row]]) -> list[list[str]]:
    """Up to nine wrong answers for each row: its own `perturbed_answer` first, then swapped ones.

    Args:
        rows: question and answer.
        pool: for each row, the rows to swap with; itself may be among them.
    """
    found = []
    for row, others in zip(rows, pool, strict=True):
        own = row.columns.get("perturbed_answer")
        wrong = [own] if isinstance(own, str) else list(own or [])
        alike = [(likeness(row, other), place) for place, other in enumerate(others)]
        for share, place in sorted(alike, key=lambda one: (-one[0], one[1])):
            answer = swapped(row, others[place], share >= SAME_FORM)
            if answer is not None:
                wrong.append(answer)
        found.append(list(dict.fromkeys(text for text in wrong if text.strip() != row.completion.strip()))[:CONTROLS])
    return found


def likeness(row: Row, other: Row) -> float:
    """How much of the words of two questions is the same, in order."""
    return SequenceMatcher(None, row.prompt.split(), other.prompt.split(), autojunk=False).ratio()


def swapped(row: Row, other: Row, same_form: bool) -> str | None:
    """The row's answer with what the other one is about in the place of what it is about; None where that fails."""
    if other.prompt == row.prompt:
        return None
    mine, theirs = (_fact(one) for one in (row, other))
    if mine and theirs:
        return row.completion.replace(mine, theirs) if mine.casefold() != theirs.casefold() else None
    if same_form:
        return _renamed(row, other)
    mine, theirs = (_particulars(one) for one in (row, other))
    if not mine or not theirs or mine[-1] == theirs[-1]:
        return None
    return theirs[-1].join(row.completion.rsplit(mine[-1], 1))


def _renamed(row: Row, other: Row) -> str | None:
    """The other row's answer, with the words of its question that differ replaced by this one's."""
    here, there = row.prompt.split(), other.prompt.split()
    answer = other.completion
    for tag, a, b, c, d in SequenceMatcher(None, here, there, autojunk=False).get_opcodes():
        if tag == "replace":
            new, old = (" ".join(words).strip("?.,!;:'\"") for words in (here[a:b], there[c:d]))
            answer = re.sub(rf"\b{re.escape(old)}\b", lambda _, new=new: new, answer)
    return answer if answer != row.completion else None


def _fact(row: Row) -> str | None:
    fact = row.columns.get("fact")
    return fact if isinstance(fact, str) and fact.strip() and fact in row.completion else None


def _particulars(row: Row) -> list[str]:
    """Names, places and dates of the answer that the question does not give; not a word that only begins it."""
    found = [match.group().rstrip(".,;:'’") for match in PARTICULAR.finditer(row.completion) if match.start() > 0]
    return [text for text in found if text and text not in row.prompt]
