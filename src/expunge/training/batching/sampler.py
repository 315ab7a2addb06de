"""The forget set as a torch data set whose items say which rows of each view they meet."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from expunge.training.batching.encoding import EncodedViews
from expunge.training.batching.order import Order
from expunge.training.batching.pairing import Pairing
from expunge.training.batching.views import VIEWS, Key

Item = tuple[int, int] | None  # (epoch, forget row), or nothing: padding


class EpochSampler(Sampler[Item]):
    """Yields (epoch, forget row) in the order of the plan, so that no worker or rank needs to be told the epoch.

    The end of an epoch is filled up with nothing to a multiple of `multiple`, so that every process has as many
    micro-batches as the others without seeing a row twice.

    Args:
        order: Which rows share a step and a micro-batch.
        lengths: From an epoch to the tokens of each row that a forget row meets, by forget row.
        multiple: Rows of a micro-batch, over all processes.
    """

    def __init__(self, order: Order, lengths: Callable[[int], Sequence[Sequence[int]]], multiple: int) -> None:
        self.order, self.lengths, self.multiple, self.epoch = order, lengths, multiple, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.order.rows // self.multiple) * self.multiple

    def __iter__(self) -> Iterator[Item]:
        order = self.order.of_epoch(self.epoch, self.lengths(self.epoch))
        yield from ((self.epoch, index) for index in order)
        yield from [None] * (len(self) - len(order))


class ForgetDataset(Dataset):
    """Maps (epoch, forget row) to the keys of its rows in each view."""

    def __init__(self, pairing: Pairing, views: Sequence[str]) -> None:
        self.pairing, self.views = pairing, views

    def __len__(self) -> int:
        return self.pairing.rows

    def __getitem__(self, item: Item) -> dict[str, list[Key]] | None:
        return None if item is None else self.keys(*item)

    def keys(self, epoch: int, row: int) -> dict[str, list[Key]]:
        """The keys of the rows that a forget row meets in an epoch, by view."""
        return {view: VIEWS[view].keys(self.pairing, epoch, row) for view in self.views}


class Collator:
    """Gathers the rows of a micro-batch by view.

    A micro-batch of padding alone gets one row and does not count: under DDP and FSDP2 every process must run the model
    as often as the others.
    """

    def __init__(self, dataset: ForgetDataset, encoded: EncodedViews) -> None:
        self.dataset, self.encoded = dataset, encoded

    def __call__(self, items: Sequence[dict[str, list[Key]] | None]) -> dict[str, Any]:
        real = [item for item in items if item is not None]
        used = real or [self.dataset.keys(0, 0)]
        keys = {view: [key for item in used for key in item[view]] for view in self.dataset.views}
        return {"batch": self.encoded.batch(keys), "counts": bool(real)}
