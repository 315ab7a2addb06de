"""The views, one small file each. To add one: write its file, add it to this table."""

from collections.abc import Iterable, Iterator

from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views.alternate import ForgetAlternate
from expunge.training.batching.views.base import Key, Source, Sources, ViewKind
from expunge.training.batching.views.forget import Forget
from expunge.training.batching.views.mismatch import ForgetMismatch
from expunge.training.batching.views.refused import ForgetIdk, RetainIdk
from expunge.training.batching.views.retain import Retain

VIEWS: dict[str, ViewKind] = {
    view.name: view for view in (Forget(), ForgetIdk(), ForgetMismatch(), ForgetAlternate(), Retain(), RetainIdk())
}


def takes(views: Iterable[str], source: Source) -> bool:
    """Whether any of these views is made from a source."""
    return any(source in VIEWS[view].takes for view in views)


def all_keys(view: str, pairing: Pairing, epochs: int) -> Iterator[Key]:
    """Every distinct key of a view over a whole run, in a fixed order."""
    seen: dict[Key, None] = {}
    for epoch in range(epochs):
        for index in range(pairing.rows):
            seen.update(dict.fromkeys(VIEWS[view].keys(pairing, epoch, index)))
    return iter(seen)


__all__ = ["VIEWS", "Key", "Source", "Sources", "ViewKind", "all_keys", "takes"]
