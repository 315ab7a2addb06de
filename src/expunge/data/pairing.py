"""Which rows meet: a function of (seed, epoch, index) alone, not of rank, worker, resume or global random state."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# One stream of random numbers for each purpose, so that adding one leaves the others as they were.
_ORDER, _RETAIN, _TEMPLATE, _RETAIN_TEMPLATE, _MISMATCH, _STEPS = range(6)

Key = tuple[int, ...]


@dataclass(frozen=True)
class Pairing:
    """The plan of a run: an epoch is one pass over the forget set, and every row it meets is known beforehand.

    Attributes:
        seed: Of the whole plan.
        forget: Rows in the forget set.
        retain: Rows in the retain set, 0 if there is none.
        templates: Refusal templates.
        mismatches: Answers of other rows for each forget row.
    """

    seed: int
    forget: int
    retain: int = 0
    templates: int = 0
    mismatches: int = 0

    def order(self, epoch: int) -> list[int]:
        """The order in which an epoch goes through the forget set."""
        return _permutation(self.seed, _ORDER, epoch, self.forget).tolist()

    def step_order(self, epoch: int, steps: int) -> list[int]:
        """The order of an epoch's optimiser steps, where they are not those of `order` as it stands."""
        return _permutation(self.seed, _STEPS, epoch, steps).tolist()

    def retain_row(self, epoch: int, index: int) -> int:
        """The retain row that forget row `index` meets; none comes twice before all came once."""
        drawn = epoch * self.forget + index
        return int(_permutation(self.seed, _RETAIN, drawn // self.retain, self.retain)[drawn % self.retain])

    def keys(self, view: str, epoch: int, index: int) -> list[Key]:
        """The rows of a view that forget row `index` brings along, as keys of `data.views.ViewRows`."""
        match view:
            case "forget" | "forget_alternate":
                return [(index,)]
            case "forget_idk":
                return [(index, self._template(_TEMPLATE, epoch, index))]
            case "forget_mismatch":
                return [(index, other) for other in self._mismatched(epoch, index)]
            case "retain":
                return [(self.retain_row(epoch, index),)]
            case "retain_idk":
                return [(self.retain_row(epoch, index), self._template(_RETAIN_TEMPLATE, epoch, index))]
        raise KeyError(view)

    def all_keys(self, view: str, epochs: int) -> Iterator[Key]:
        """Every distinct key of a view over a whole run, in a fixed order."""
        seen: dict[Key, None] = {}
        for epoch in range(epochs):
            for index in range(self.forget):
                seen.update(dict.fromkeys(self.keys(view, epoch, index)))
        return iter(seen)

    def _template(self, purpose: int, epoch: int, index: int) -> int:
        return int(_draws(self.seed, purpose, epoch, self.forget, self.templates)[index])

    def _mismatched(self, epoch: int, index: int) -> list[int]:
        own = self.retain_row(epoch, index)  # "another row": not the one this row is paired with anyway
        others = np.random.default_rng([self.seed, _MISMATCH, epoch, index]).permutation(self.retain)
        picked = [int(row) for row in others[: self.mismatches + 1] if row != own or self.retain == 1]
        return picked[: self.mismatches]


@lru_cache(maxsize=16)
def _permutation(seed: int, purpose: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, purpose, turn]).permutation(size)


@lru_cache(maxsize=16)
def _draws(seed: int, purpose: int, epoch: int, size: int, choices: int) -> np.ndarray:
    return np.random.default_rng([seed, purpose, epoch]).integers(choices, size=size)
