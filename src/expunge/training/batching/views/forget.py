"""The forget set as it is."""

from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views.base import Key, ViewKind


class Forget(ViewKind):
    """Forget prompt, forget completion."""

    name = "forget"

    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        row = pairing.forget_row(epoch, index)
        return [] if row is None else [(row,)]
