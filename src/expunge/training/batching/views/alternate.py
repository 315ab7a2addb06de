"""Prompts answered with an alternative that the target model invented."""

from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views.base import Key, Sources, ViewKind


class ForgetAlternate(ViewKind):
    """Forget prompt, an alternative answer sampled from the target model before training (see `alternates`)."""

    name = "forget_alternate"
    takes = ("alternates",)
    answers_prompt = True

    def keys(self, pairing: Pairing, epoch: int, index: int) -> list[Key]:
        return [(index,)]

    def completion(self, sources: Sources, key: Key) -> str | None:
        return sources.alternates[key[0]]
