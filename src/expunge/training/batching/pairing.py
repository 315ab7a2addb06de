"""Which rows meet: a function of (seed, epoch, index) alone, not of rank, worker, resume or global random state."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# One stream of random numbers for each purpose, so that adding one leaves the others as they were. Views that draw
# have separate streams (see `views`), numbered from 2; 5 and 6 are taken.
ORDER, RETAIN, STEPS, FORGET = 0, 1, 5, 6
LARGE = 10_000  # rows


@dataclass(frozen=True)
class Pairing:
    """The plan of a run: an epoch is one pass over the forget set, and every row it meets is known beforehand.

    Attributes:
        seed: Of the whole plan.
        forget: Rows in the forget set.
        retain: Rows in the retain set, 0 if there is none.
        refusals: Refusal templates.
        mismatches: Answers of other rows for each forget row.
    """

    seed: int
    forget: int
    retain: int = 0
    refusals: int = 0
    mismatches: int = 0

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return self.forget

    def order(self, epoch: int) -> list[int]:
        """The order in which an epoch goes through its rows."""
        return _permutation(self.seed, ORDER, epoch, self.rows).tolist()

    def step_order(self, epoch: int, steps: int) -> list[int]:
        """The order of an epoch's optimiser steps, where they are not those of `order` as it stands."""
        return _permutation(self.seed, STEPS, epoch, steps).tolist()

    def forget_row(self, epoch: int, index: int) -> int | None:
        """The forget row at an epoch's row `index`, if it has one."""
        return index

    def retain_row(self, epoch: int, index: int) -> int:
        """The retain row that forget row `index` meets; none comes twice before all came once."""
        drawn = epoch * self.forget + index
        return int(_permutation(self.seed, RETAIN, drawn // self.retain, self.retain)[drawn % self.retain])

    def refusal(self, stream: int, epoch: int, index: int) -> int:
        """The refusal that forget row `index`, or the retain row it meets, is answered with in an epoch."""
        return int(_draws(self.seed, stream, epoch, self.forget, self.refusals)[index])

    def other_retain_rows(self, stream: int, epoch: int, index: int) -> list[int]:
        """`mismatches` retain rows that forget row `index` does not meet as its retain row."""
        own = self.retain_row(epoch, index)
        draw = np.random.default_rng([self.seed, stream, epoch, index])
        # A permutation of a large set, for each forget row, would take minutes.
        shuffled = self.retain <= LARGE
        others = draw.permutation(self.retain) if shuffled else draw.choice(self.retain, self.mismatches + 1, False)
        picked = [int(row) for row in others[: self.mismatches + 1] if row != own or self.retain == 1]
        return picked[: self.mismatches]


@dataclass(frozen=True)
class RetainLed(Pairing):
    """The plan of a run whose epochs are passes over the retain set; some steps have forget rows beside the others.

    Attributes:
        rows_per_step: Over all micro-batches and processes.
        steps: Of an epoch.
        every: Of so many steps, the last one has a forget row for each of its retain rows.
        first: The first epoch with forget rows.
    """

    rows_per_step: int = 1
    steps: int = 1
    every: int = 1
    first: int = 0

    @property
    def rows(self) -> int:
        return self.retain

    def retain_row(self, epoch: int, index: int) -> int:
        return index

    def forget_row(self, epoch: int, index: int) -> int | None:
        """None comes twice before all came once."""
        place = int(_places(self.seed, epoch, self.retain)[index])
        step = epoch * self.steps + place // self.rows_per_step
        if (step + 1) % self.every or epoch < self.first:
            return None
        drawn = step // self.every * self.rows_per_step + place % self.rows_per_step
        return int(_permutation(self.seed, FORGET, drawn // self.forget, self.forget)[drawn % self.forget])


@lru_cache(maxsize=16)
def _places(seed: int, epoch: int, size: int) -> np.ndarray:
    """Where each row stands in the order of an epoch."""
    return _permutation(seed, ORDER, epoch, size).argsort()


@lru_cache(maxsize=16)
def _permutation(seed: int, purpose: int, turn: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, purpose, turn]).permutation(size)


@lru_cache(maxsize=16)
def _draws(seed: int, purpose: int, epoch: int, size: int, choices: int) -> np.ndarray:
    return np.random.default_rng([seed, purpose, epoch]).integers(choices, size=size)
