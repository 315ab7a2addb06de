"""What memory the process keeps: a training step frees gigabytes and takes them again at once."""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def use_huge_pages() -> None:
    """Ask PyTorch for huge pages on the CPU, where Linux gives them on request. Before torch is imported."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensor, instead of giving it back to the system and faulting it in again.

    For the whole process, so for commands alone: a library has no right to it. Does nothing without glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
        mallopt(parameter, LARGEST)
