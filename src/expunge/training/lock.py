"""One process works in a run folder at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from expunge.errors import InputError
from expunge.runs import LOCK


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold a run folder's lock, making the folder if need be. The process that has it may ask for it again.

    Raises:
        InputError: Another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{folder}: another process is working on this run. Wait for it to end.") from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()
