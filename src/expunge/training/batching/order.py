"""Which rows share an optimiser step, and which of those a micro-batch: in what order an epoch goes through its rows.

Losses are divided by the totals of the whole step, so how a step is cut over micro-batches and processes changes no
number; it decides how much padding is run, how much memory the largest micro-batch takes, and how long processes wait
for each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from expunge.models.batching import cut_into, deal, longest_first
from expunge.training.batching.pairing import Pairing

Strategy = Literal["random", "group_by_length", "sequential"]

# With "group_by_length", rows are sorted by length among this many steps' rows, as transformers does.
STEPS_AT_ONCE = 50


@dataclass(frozen=True)
class Order:
    """The order of an epoch: a function of the plan's seed, the epoch and the rows' lengths alone.

    Attributes:
        pairing: The plan of the run.
        strategy: How steps are filled. "random": by the plan's shuffle. "group_by_length": rows of similar length share
            a step, the step with the longest row comes first, the others in random order. "sequential": as the rows
            stand in the forget set.
        rows_per_step: Over all micro-batches and processes.
        size: Rows of a micro-batch.
        packed: Whether micro-batches are packed, that is, run without padding.
        drop_last: Whether the last step of an epoch is left out where it is short of rows.
    """

    pairing: Pairing
    strategy: Strategy
    rows_per_step: int
    size: int
    packed: bool
    drop_last: bool = False

    def of_epoch(self, epoch: int, lengths: Sequence[Sequence[int]]) -> list[int]:
        """Rows in the order in which they are cut into micro-batches, which processes take in turn.

        Args:
            epoch: Counted from 0.
            lengths: For each forget row, the tokens of each row that goes through the model with it in this epoch.
        """
        # Packed, all tokens count; padded rows are as long as the longest.
        costs = [sum(those) if self.packed else max(those) for those in lengths]
        cut = evenly if self.packed else together
        steps = self._steps(epoch, costs)
        if self.drop_last:
            steps = [step for step in steps if len(step) == self.rows_per_step]
        return [row for step in steps for row in cut(step, costs, self.size)]

    @property
    def rows(self) -> int:
        """Rows of an epoch."""
        return self.pairing.rows - (self.pairing.rows % self.rows_per_step if self.drop_last else 0)

    def largest(self, epoch: int, lengths: Sequence[Sequence[int]]) -> int:
        """Tokens of the largest micro-batch of an epoch, padding included."""
        parts = cut_into(self.of_epoch(epoch, lengths), self.size)
        all_rows = [[tokens for row in part for tokens in lengths[row]] for part in parts]
        return max(sum(rows) if self.packed else max(rows) * len(rows) for rows in all_rows)

    def _steps(self, epoch: int, lengths: Sequence[int]) -> list[list[int]]:
        if self.strategy == "sequential":
            return cut_into(range(self.pairing.rows), self.rows_per_step)
        shuffled = self.pairing.order(epoch)
        if self.strategy == "random":
            return cut_into(shuffled, self.rows_per_step)
        groups = cut_into(shuffled, self.rows_per_step * STEPS_AT_ONCE)
        steps = cut_into([row for group in groups for row in together(group, lengths)], self.rows_per_step)
        # The last step may be short and must stay the last; the shuffle of the others is of the same plan.
        full = len(steps) - (len(steps[-1]) < self.rows_per_step)
        mixed = [steps[i] for i in self.pairing.step_order(epoch, full)] + steps[full:]
        longest = max(range(full), key=lambda i: max(lengths[row] for row in mixed[i]), default=0)
        return [mixed.pop(longest), *mixed]


def together(step: Sequence[int], lengths: Sequence[int], size: int = 0) -> list[int]:
    """Rows of similar length share a micro-batch, so that little of it is padding; the longest come first."""
    ascending = sorted(step)  # ties as they stand in the forget set
    return [ascending[i] for i in longest_first([lengths[row] for row in ascending])]


def evenly(step: Sequence[int], lengths: Sequence[int], size: int) -> list[int]:
    """Every micro-batch gets about as many tokens: without padding, that is what its time and memory follow.

    All but the last micro-batch are full, and those are ordered by their tokens, most first.
    """
    ascending, room = sorted(step), [len(piece) for piece in cut_into(step, size)]
    dealt = deal([lengths[row] for row in ascending], room)
    members = [[ascending[i] for i in part] for part in dealt]
    tokens = [sum(lengths[row] for row in part) for part in members]
    full = [i for i in longest_first(tokens) if room[i] == size]
    short = [i for i in range(len(room)) if room[i] < size]
    return [row for i in full + short for row in members[i]]
