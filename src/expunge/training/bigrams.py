"""How unlikely a row is to whoever knows the retain rows alone, counted without a model: bigrams."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from math import log

from expunge.data import Encoded


class Bigrams:
    """Interpolated bigrams of completions, smoothed as by Witten and Bell (1991).

    With c occurrences of a token, t kinds of tokens among n: p(w) = (c(w) + t / K) / (n + t), K being the size of the
    vocabulary, and after v, p(w | v) = (c(vw) + t(v) p(w)) / (c(v) + t(v)).

    Args:
        rows: Counted.
        vocabulary: Its size.
    """

    def __init__(self, rows: Iterable[Encoded], vocabulary: int) -> None:
        self._pairs = Counter(pair for row in rows for pair in pairwise(row.ids[row.start - 1 :]))
        self._singles, self._before, self._kinds = Counter[int](), Counter[int](), Counter[int]()
        for (before, token), count in self._pairs.items():
            self._singles[token] += count
            self._before[before] += count
            self._kinds[before] += 1
        self._vocabulary, self._total = vocabulary, self._singles.total()

    def mean_nll(self, row: Encoded) -> float:
        """Negative log-likelihood of a row's completion, in nats a token."""
        found = [-log(self._probability(*pair)) for pair in pairwise(row.ids[row.start - 1 :])]
        return sum(found) / len(found)

    def _probability(self, before: int, token: int) -> float:
        kinds = len(self._singles)
        single = (self._singles[token] + kinds / self._vocabulary) / (self._total + kinds)
        seen = self._kinds[before]
        return (self._pairs[before, token] + seen * single) / (self._before[before] + seen) if seen else single
