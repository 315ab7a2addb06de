"""train_log.jsonl: a line for each logged step; and the step at which gradient ascent has gone too far."""

import json
import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.runs import TRAIN_LOG

TERM = "term/"
"""Begins the names of the terms' values in what transformers logs."""


def write_step(
    folder: Path,
    state: Any,
    logs: Mapping[str, float],
    terms: Mapping[str, float],
    weights: Mapping[str, float] | None,
    tokens: int,
    started: float | None,
) -> None:
    """Add a step to the run's log.

    Args:
        folder: The run folder.
        state: The trainer's: step and epoch.
        logs: Loss, gradient norm and learning rate.
        terms: Each term's value.
        weights: Each term's weight in this step, where they change.
        tokens: Run by this process so far.
        started: When training began, in seconds since the epoch.
    """
    entry = {
        "step": state.global_step,
        "epoch": state.epoch,
        "loss": logs["loss"],
        "terms": terms,
        **({"weights": weights} if weights is not None else {}),
        "grad_norm": logs["grad_norm"],
        "learning_rate": logs["learning_rate"],
        "seconds": round(time.time() - started, 3) if started else None,
        "tokens": tokens,
    }
    with (folder / TRAIN_LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def terms_in(logs: Mapping[str, Any]) -> dict[str, float]:
    """Each term's value in a log entry."""
    return {name.removeprefix(TERM): value for name, value in logs.items() if name.startswith(TERM)}


def below_chance(terms: Mapping[str, float], vocabulary: int, step: int) -> bool:
    """Whether gradient ascent made the forget set less likely than chance; says so."""
    chance = math.log(vocabulary)
    if -terms.get("GA", 0.0) <= chance:
        return False
    warnings.warn(
        f"Stopped at step {step}: gradient ascent made the forget set less likely than chance "
        f"({-terms['GA']:.1f} > {chance:.1f} nats a token). Set train.stop_at_chance=false to continue.",
        stacklevel=2,
    )
    return True
