"""What a verdict is made of: three questions, a finding for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["yes", "no", "open"]


@dataclass(frozen=True)
class Question:
    """A question about a run: in full, as the heading of a column, and each answer in two or three words."""

    text: str
    column: str
    words: Mapping[Status, str]


@dataclass(frozen=True)
class Finding:
    """The answer to one question; `open` says that the evidence does not settle it or is not there.

    Attributes:
        question: what was asked.
        status: the answer.
        answer: the answer as a sentence.
        evidence: the numbers it rests on, a sentence each.
        limits: what the numbers do not cover.
        words: the answer in a few words, where they are not the question's own.
    """

    question: Question
    status: Status
    answer: str
    evidence: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    words: str = ""

    @property
    def short(self) -> str:
        """The answer in two or three words."""
        return self.words or self.question.words[self.status]
