"""The retain set as it is."""

from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views.base import Key, ViewKind


class Retain(ViewKind):
    """Retain prompt, retain completion."""

    name = "retain"
    takes = ("retain",)

    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        return [(pairing.retain_row(epoch, index),)]
