"""What a view is: which of its rows a forget row meets, and with which completion."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from expunge.data.rows import Row
from expunge.training.batching.pairing import Pairing

Key = tuple[int, ...]
"""A row of a view: (row of its set,), and where its completion is drawn, (row, which one)."""

Source = Literal["retain", "refusals", "alternates"]


@dataclass
class Sources:
    """What the rows of all views are made from.

    Attributes:
        forget: Rows to forget.
        retain: Rows to keep; empty where the objective looks at none.
        refusals: Refusal templates; likewise.
        alternates: An alternative answer to each forget row, once they are sampled.
    """

    forget: Sequence[Row]
    retain: Sequence[Row] = ()
    refusals: Sequence[str] = ()
    alternates: Sequence[str] = ()


class ViewKind(ABC):
    """One view: a set of rows as terms see it. Its name begins with the name of its set.

    Attributes:
        name: As in `Needs.views`.
        takes: What it is made from beside its own set.
        answers_prompt: Whether its completions are answers to a prompt, which plain text does not have.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[Source, ...]] = ()
    answers_prompt: ClassVar[bool] = False

    @property
    def set(self) -> str:
        """The set whose rows it shows: "forget" or "retain"."""
        return self.name.partition("_")[0]

    def row(self, sources: Sources, key: Key) -> Row:
        """The row that a key is of."""
        return (sources.forget if self.set == "forget" else sources.retain)[key[0]]

    @abstractmethod
    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        """The rows of this view that go through the model together with forget row `index`."""

    def each_once(self, pairing: Pairing) -> list[Key]:
        """Every row of the set once, without chance: row i with completion i mod n."""
        return [(i,) for i in range(pairing.forget if self.set == "forget" else pairing.retain)]

    def completion(self, sources: Sources, key: Key) -> str | None:
        """What stands in place of the row's own completion; None: nothing."""
        return None
