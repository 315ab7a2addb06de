"""Fact accuracy: does the greedy answer contain the exact fact the question asks for? (rows with a column `fact`)"""

import unicodedata

from expunge.metrics.base import Example, Metric


def plain(text: str) -> str:
    """Text as it is compared: Unicode NFKC, case folded, each run of white space one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def has_fact(fact: str, output: str) -> bool:
    """Whether the fact's string is in the output, whatever the case and white space. An empty fact is in nothing."""
    return bool(plain(fact)) and plain(fact) in plain(output)


def per_example(example: Example) -> float | None:
    """1 if the greedy answer contains the fact, 0 if not; None for a row without one."""
    if example.fact is None or example.generation is None:
        return None
    return float(has_fact(example.fact, example.generation))


FACT_ACCURACY = Metric(
    name="fact_accuracy",
    label="Fact accuracy",
    meaning="share of answers that contain the exact fact",
    share=True,
    yes_no=True,
    per_example=per_example,
    definition="share of greedy answers that contain the string `fact` of the row, after Unicode NFKC, case folding "
    "and joining of white space",
    source="expunge",
    needs=frozenset({"generation", "fact"}),
    why_null="no row of this set has a column `fact`",
)
