"""Diversity of the output (LLMU, arXiv 2310.10683): the share of its tokens that are unique."""

from collections.abc import Sequence

from expunge.metrics.base import Metric


def diversity(tokens: Sequence[str]) -> float:
    """Number of distinct tokens / number of tokens; 0 for none."""
    return len(set(tokens)) / len(tokens) if tokens else 0.0


DIVERSITY = Metric(
    name="diversity",
    label="Diversity",
    meaning="share of the output's tokens that are unique",
    share=True,
    per_example=lambda example: None if example.generation is None else diversity(example.generation_tokens),
    definition="mean share of unique tokens in the output; the decoded output is tokenised again; 0 for an empty one",
    source="2310.10683",
    needs=frozenset({"generation"}),
    better={"forget": "higher", "retain": "higher"},
    why_null="no row of this set has an output",
)
