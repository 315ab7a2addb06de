"""What a run took: seconds, and the most memory that was in use at a time."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

SECONDS, MEMORY = "unlearn_seconds", "unlearn_peak_mib"
PROCESS = Path("/").joinpath("proc", str(os.getpid()))  # where Linux tells of it
MIB = 2**20


@contextmanager
def timed(on_cpu: bool) -> Iterator[dict[str, float | None]]:
    """Yield an empty mapping, which has `unlearn_seconds` and `unlearn_peak_mib` when the block ends.

    Memory is what torch had allocated on the GPU, or the whole process's resident memory, Python and libraries
    included; None where the system does not tell it (it is Linux that does).
    """
    on_gpu, found = not on_cpu and torch.cuda.is_available(), dict[str, float | None]()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    watched = on_gpu or _reset_peak()
    started = time.monotonic()
    yield found
    found[SECONDS] = round(time.monotonic() - started, 3)
    found[MEMORY] = None if not watched else torch.cuda.max_memory_allocated() / MIB if on_gpu else _peak()


def _reset_peak() -> bool:
    """Let the kernel count the process's peak memory anew; whether it can."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak() -> float:
    """The most resident memory since then, in MiB."""
    [line] = [line for line in (PROCESS / "status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024
