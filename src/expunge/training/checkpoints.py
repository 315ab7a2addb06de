"""Checkpoints: which one to continue from, and the log that belongs to it."""

import json
from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from expunge.files import whole_file

WHOLE = "whole"  # an empty file, written last


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, or None."""
    found = [p for p in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if (p / WHOLE).is_file()]
    return str(max(found, key=_step)) if found else None


def trim_log(log: Path, checkpoint: str | None) -> None:
    """Drop log entries from after the checkpoint; they will be written again."""
    if not log.is_file():
        return
    last = _step(Path(checkpoint)) if checkpoint else 0
    kept = [line for line in log.read_text(encoding="utf-8").splitlines() if _logged_step(line) <= last]
    with whole_file(log) as part:
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _logged_step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError):
        return float("inf")  # the kill came while this line was written
