"""Token entropy of the output (arXiv 2410.08109): low where the model repeats itself."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from expunge.metrics.base import Example, Metric


def token_entropy(tokens: Sequence[str]) -> float:
    """Base-2 entropy of the unigram counts over log2(number of tokens), in [0, 1]; 0 for one token or none."""
    if len(tokens) < 2:
        return 0.0
    share = np.fromiter(Counter(tokens).values(), dtype=np.float64) / len(tokens)
    return float(max(0.0, -(share * np.log2(share)).sum()) / np.log2(len(tokens)))


def per_example(example: Example) -> float | None:
    """Token entropy of the greedy answer."""
    return None if example.generation is None else token_entropy(example.generation_tokens)


TOKEN_ENTROPY = Metric(
    name="token_entropy",
    label="Token entropy",
    meaning="variety of the words in the answer; near 0 it repeats itself",
    per_example=per_example,
    definition="base-2 entropy of the output's token counts / log2(number of tokens); the decoded output is tokenised "
    "again; 0 for one token or none",
    source="2410.08109",
    needs=frozenset({"generation"}),
    kinds=("retain",),
    better={"retain": "higher"},
)
