"""BLEU of a continued passage, and whether that is a leak (LLMU, arXiv 2310.10683)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from expunge.metrics.base import Example, Metric

THRESHOLD_SHARE = 0.1  # of the mean BLEU between random passages
PAIRS = 1000
SEED = 0


def bleu(reference: str, output: str) -> float | None:
    """Sentence BLEU in [0, 1] by sacrebleu, of as many orders up to 4 as the texts have; None without a reference."""
    from sacrebleu import sentence_bleu

    if not reference.strip():
        return None
    return min(1.0, sentence_bleu(output, [reference], use_effective_order=True).score / 100)


@lru_cache(maxsize=1)
def leak_threshold(passages: Sequence[str]) -> float | None:
    """A tenth of the mean BLEU between random passages of the corpus.

    Args:
        passages: a tuple of the corpus's passages, cut as references are.

    Returns:
        The mean over 1000 pairs drawn with a fixed seed (all pairs where there are no more), times 0.1; None for a
        corpus of fewer than two passages.
    """
    passages = [passage for passage in passages if passage.strip()]
    n = len(passages)
    if n < 2:
        return None
    if n * (n - 1) <= PAIRS:
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    else:
        generator = np.random.default_rng(SEED)
        first = generator.integers(n, size=PAIRS)
        pairs = list(zip(first, (first + generator.integers(1, n, size=PAIRS)) % n, strict=True))
    values = [bleu(passages[i], passages[j]) for i, j in pairs]
    return THRESHOLD_SHARE * float(np.mean([value for value in values if value is not None]))


def of_passage(example: Example) -> float | None:
    """BLEU of the output against the rest of the passage."""
    if not example.passage or example.generation is None:
        return None
    return bleu(example.reference, example.generation)


def leaked(example: Example) -> float | None:
    """1 where the BLEU is above the threshold, else 0; an empty output has BLEU 0 and leaks nothing."""
    value = of_passage(example)
    if value is None or example.leak_threshold is None:
        return None
    return float(value > example.leak_threshold)


BLEU = Metric(
    name="bleu",
    label="BLEU",
    meaning="overlap of the continuation with the passage, by up to four words in a row",
    per_example=of_passage,
    definition="mean sentence BLEU of the continuation against the passage's own text of that length",
    source="2310.10683",
    needs=frozenset({"generation", "passage"}),
    kinds=("forget",),
    why_null="no row of this set is a passage (plain text) longer than its prompt",
)
LEAK_RATE = Metric(
    name="leak_rate",
    label="Leak rate",
    meaning="share of passages that are continued more like the text than random ones are",
    share=True,
    yes_no=True,
    per_example=leaked,
    definition="share of passages whose continuation has a BLEU above a tenth of the mean BLEU between random passages "
    "of the forget set",
    source="2310.10683",
    needs=frozenset({"generation", "passage"}),
    kinds=("forget",),
    why_null="it needs rows that are passages (plain text) longer than their prompt, and two of them in the forget set",
)
