"""Prompts answered with a refusal."""

from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views.base import Key, Sources, ViewKind


class ForgetIdk(ViewKind):
    """Forget prompt, a refusal."""

    name = "forget_idk"
    takes = ("refusals",)
    answers_prompt = True
    stream = 2

    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        return [(index, pairing.refusal(self.stream, epoch, index))]

    def each_once(self, pairing: Pairing) -> list[Key]:
        return [(i, i % pairing.refusals) for (i,) in super().each_once(pairing)]

    def completion(self, sources: Sources, key: Key) -> str | None:
        return sources.refusals[key[1]]


class RetainIdk(ForgetIdk):
    """Retain prompt, a refusal."""

    name = "retain_idk"
    takes = ("retain", "refusals")
    stream = 3

    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        return [(pairing.retain_row(epoch, index), pairing.refusal(self.stream, epoch, index))]
