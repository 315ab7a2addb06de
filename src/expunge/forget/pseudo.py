"""Pseudo-requests: retain rows that are treated as if they were to be forgotten."""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from expunge.data import Row

COMMON = 2  # a word in more than so many times the rows of a request marks no subject


def pseudo_request(rows: Sequence[Row], size: int, lengths: tuple[int, int], seed: int) -> list[int]:
    """Places of retain rows about some subjects, as many as a request has, in their order.

    A row that is drawn at random brings those with it that are about the same (see `_Subjects.around`), until there are
    enough; where none are, the rows are random ones.

    Args:
        rows: The retain set.
        size: How many.
        lengths: The shortest and longest completion of a row that is drawn, in characters; those of the forget set.
        seed: Of the draw.
    """
    subjects = _Subjects(rows, COMMON * size)
    order = random.Random(seed).sample(range(len(rows)), len(rows))
    order.sort(key=lambda i: not lengths[0] <= len(rows[i].completion) <= lengths[1])  # the others last
    taken: set[int] = set()
    for drawn in order:
        if drawn not in taken and len(taken) < size:
            taken.update(subjects.around(drawn, taken, size)[: size - len(taken)])
    return sorted(taken)


class _Subjects:
    """Which rows are about the same: those that share rare words which question and answer both have.

    Args:
        rows: The retain set.
        common: Words of more rows than this count for nothing.
    """

    def __init__(self, rows: Sequence[Row], common: int) -> None:
        words = [_subject_words(row) for row in rows]
        found = Counter(word for each in words for word in each)
        weights = {word: math.log(len(rows) / n) for word, n in found.items() if 2 <= n <= common}
        self._rows_of: dict[str, list[int]] = defaultdict(list)
        self._vectors: list[dict[str, float]] = []
        for i, each in enumerate(words):
            norm = math.sqrt(sum(weights[word] ** 2 for word in each if word in weights))
            self._vectors.append({word: weights[word] / norm for word in each if word in weights} if norm else {})
            for word in self._vectors[-1]:
                self._rows_of[word].append(i)

    def around(self, first: int, taken: set[int], most: int) -> list[int]:
        """A row, and the rows that are about the same, nearest first.

        Each time the row is added that is on average nearest to those before, by the cosine of weights log(N / n) of
        words in n of N rows; then all after the largest relative drop of that average are left out.
        """
        group, nearness = [first], [1.0]
        total: dict[int, float] = defaultdict(float)
        while len(group) <= most:
            for word, weight in self._vectors[group[-1]].items():
                for i in self._rows_of[word]:
                    total[i] += weight * self._vectors[i][word]
            near = [(value, -i) for i, value in total.items() if i not in taken and i not in group]
            if not near:
                break
            value, i = max(near)
            nearness.append(value / len(group))
            group.append(-i)
        drops = [after / before for before, after in pairwise(nearness[1:])]
        return group[: drops.index(min(drops)) + 2] if drops else group


def _subject_words(row: Row) -> set[str]:
    """Words that the prompt and the completion both have; of a passage, all."""
    prompt, completion = (set(re.findall(r"\w+", text.casefold())) for text in (row.prompt, row.completion))
    return prompt & completion if row.turns else prompt | completion
