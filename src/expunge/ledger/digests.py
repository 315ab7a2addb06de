"""Digests of the files of a state."""

import hashlib
from pathlib import Path

from expunge.ledger.rows import synchronise
from expunge.runs import ADAPTER, ENVIRONMENT, MEASURED, MODEL, RECIPE, TRAIN_LOG

RECORDED = (RECIPE, ENVIRONMENT, TRAIN_LOG, MEASURED)
"""Files of a run folder that a record answers for, beside the weights and what lies with them."""


def file_digests(state: Path) -> dict[str, str]:
    """The digest of each file that belongs to a state, by its path in the run folder."""
    files = [state / name for name in RECORDED]
    files += [file for folder in (MODEL, ADAPTER) for file in (state / folder).rglob("*")]
    return {str(file.relative_to(state)): digest(file) for file in sorted(files) if file.is_file()}


def digest(file: Path) -> str:
    """The digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def synchronise_folder(folder: Path) -> None:
    """Wait until all of a folder is on the disk."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        synchronise(path)
