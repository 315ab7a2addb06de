"""ROUGE-L between the greedy answer and the reference (TOFU, arXiv 2401.06121)."""

from functools import cache

from rouge_score import rouge_scorer

from expunge.metrics.base import Example, Metric


@cache
def _published_scorer() -> rouge_scorer.RougeScorer:
    # The published suites use the library's own tokenizer, which keeps [a-z0-9] alone: Cyrillic, Greek or Chinese text
    # scores 0 whatever was leaked, and accented words fall apart. Right for comparison with the papers' numbers only.
    return rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l_recall(reference: str, output: str) -> float:
    """Share of the reference's (stemmed) words that the output has in the same order; 0 if either has no word."""
    return float(_published_scorer().score(reference, output)["rougeL"].recall)


def rouge_l_f1(reference: str, output: str) -> float:
    """F1 of ROUGE-L with stemming, as MUSE (arXiv 2407.06460) scores verbatim and knowledge memorisation."""
    return float(_published_scorer().score(reference, output)["rougeL"].fmeasure)


def per_example(example: Example) -> float | None:
    """ROUGE-L recall of the greedy answer."""
    return None if example.generation is None else rouge_l_recall(example.reference, example.generation)


ROUGE_L_RECALL = Metric(
    name="rougeL_recall",
    per_example=per_example,
    definition="ROUGE-L recall of the greedy answer against the reference, words stemmed; letters outside a-z and "
    "0-9 are dropped, as in the published code",
    source="2401.06121",
    needs=frozenset({"generation"}),
)
