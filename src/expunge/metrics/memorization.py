"""Memorisation of the answer, token by token (arXiv 2506.12618). The end-of-turn token is left out, as released."""

import numpy as np

from expunge.metrics.base import Completion, Example, Metric


def extraction_strength(completion: Completion) -> float | None:
    """1 - k/T, k in 0..T-1 the smallest prefix from which greedy decoding reproduces the rest; None for no token.

    Teacher forced, the rest is reproduced from k on exactly if every token from k on is the most likely one. As
    released, k stops at T-1, so the value is never below 1/T.
    """
    greedy = completion.greedy[completion.content]
    if not greedy.size:
        return None
    reproduced = int(np.cumprod(greedy[::-1]).sum())  # length of the longest run of greedy tokens at the end
    return max(reproduced, 1) / greedy.size


def exact_memorization(completion: Completion) -> float | None:
    """Share of the answer's tokens that are the most likely token given what precedes; None for no token."""
    greedy = completion.greedy[completion.content]
    return float(greedy.mean()) if greedy.size else None


def _of_answer(function):
    def per_example(example: Example) -> float | None:
        return None if example.answer is None else function(example.answer)

    return per_example


EXTRACTION_STRENGTH = Metric(
    name="extraction_strength",
    label="Extraction strength",
    meaning="share of the answer that its own beginning brings back",
    per_example=_of_answer(extraction_strength),
    definition="1 - k/T with k in 0..T-1 the smallest prefix of the answer from which greedy decoding reproduces the "
    "rest; without end-of-turn; never below 1/T",
    source="2506.12618",
    needs=frozenset({"answer"}),
)
EXACT_MEMORIZATION = Metric(
    name="exact_memorization",
    label="Exact memorisation",
    meaning="share of the answer's tokens predicted exactly",
    share=True,
    per_example=_of_answer(exact_memorization),
    definition="share of answer tokens equal to the teacher-forced argmax; without end-of-turn",
    source="2506.12618",
    needs=frozenset({"answer"}),
)
