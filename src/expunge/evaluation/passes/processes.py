"""Several processes under `accelerate launch` or `torchrun`: each measures its share, all end with the whole."""

import os
from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

from expunge.models.batching import deal

T = TypeVar("T")


def together() -> bool:
    """Whether this process was launched together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def start() -> None:
    """Join the other processes, if this one was launched together with others."""
    if together() and not dist.is_initialized():
        from accelerate import PartialState

        PartialState()


def rank() -> int:
    """Which process this is."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(groups: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[int]:
    """This process's members: whole groups, distributed largest first to the process that has least so far.

    Args:
        groups: what must stay together.
        sizes: the work each group is.
    """
    if not dist.is_initialized():
        return [i for group in groups for i in group]
    dealt = deal(sizes, [len(groups)] * dist.get_world_size())
    return [i for number in dealt[dist.get_rank()] for i in groups[number]]


def merge(mine: dict[int, T]) -> dict[int, T]:
    """What all processes have together."""
    if not dist.is_initialized():
        return mine
    everyone: list[dict[int, T]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    return {i: value for part in everyone for i, value in part.items()}


def wait() -> None:
    """Go on when all processes are here."""
    if dist.is_initialized():
        dist.barrier()
