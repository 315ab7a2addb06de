"""Prompts answered with the answers of other rows."""

from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views.base import Key, Sources, ViewKind


class ForgetMismatch(ViewKind):
    """Forget prompt, completions of other (retain) rows."""

    name = "forget_mismatch"
    takes = ("retain",)
    answers_prompt = True
    stream = 4

    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        return [(index, other) for other in pairing.other_retain_rows(self.stream, epoch, index)]

    def each_once(self, pairing: Pairing) -> list[Key]:
        return [(i, i % pairing.retain) for (i,) in super().each_once(pairing)] if pairing.retain else []

    def completion(self, sources: Sources, key: Key) -> str | None:
        return sources.retain[key[1]].completion
