"""Completions with log-probabilities chosen by hand."""

import numpy as np

from expunge.metrics import Completion


def completion(*logprobs: float, greedy: tuple[bool, ...] | None = None, ends: bool = True, **moments) -> Completion:
    """A completion whose tokens have these log-probabilities."""
    flags = np.array(greedy if greedy is not None else [False] * len(logprobs), dtype=bool)
    return Completion(np.array(logprobs, dtype=np.float64), flags, ends, **moments)
