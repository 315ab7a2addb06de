"""Perplexity of the output under another model (arXiv 2310.10683, 2506.12618): does it still read like language?"""

import math

from expunge.metrics.base import Example, Metric

LARGEST_EXPONENT = 80.0  # exp(80) is 6e34: means over any number of rows stay finite


def perplexity(example: Example) -> float | None:
    """exp(nll/T) of the output under the fluency model; None for an empty output, which has no token."""
    return None if example.fluency_nll is None else math.exp(min(example.fluency_nll, LARGEST_EXPONENT))


PERPLEXITY = Metric(
    name="perplexity",
    label="Perplexity",
    meaning="how surprising the output is to a reference model",
    per_example=perplexity,
    definition="mean over outputs of exp(nll/T) of the output's text alone under a reference model; empty outputs have "
    "none",
    source="2310.10683",
    needs=frozenset({"generation", "fluency"}),
    better={"forget": "lower", "retain": "lower"},
    why_null="it needs outputs that are not empty and a model to judge them: --fluency-model MODEL",
)
