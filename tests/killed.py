"""What a run leaves behind that was killed."""

import shutil
from pathlib import Path


def copy_killed(run: Path, to: Path, step: int) -> None:
    """Copy a run as a kill after the checkpoint of a step would have left it."""
    to.mkdir(parents=True, exist_ok=True)
    for name in (f"checkpoint-{step}", "reference"):
        if (run / name).exists():
            shutil.copytree(run / name, to / name)
    for name in ("recipe.yaml", "environment.json"):
        shutil.copy(run / name, to / name)
