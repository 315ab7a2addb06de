"""A user's own rows: what can be said without a retrained model, against controls that the model never saw.

The data is a folder with `forget`, and where there are any `retain` and `holdout`, in any accepted layout; or the SPEC
of the forget rows alone, with `--holdout` for the controls. The best controls are matched: row i of the holdout asks of
something never trained on what row i of the forget set asks of what must go.
"""

from dataclasses import replace

from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics.base import Metric
from expunge.metrics.classifier import GIBBERISH
from expunge.metrics.facts import FACT_ACCURACY
from expunge.metrics.membership import (
    MIA_GRADNORM,
    MIA_LOSS,
    MIA_MIN_K,
    MIA_MIN_K_PLUS_PLUS,
    MIA_REFERENCE,
    MIA_ZLIB,
)
from expunge.metrics.memorization import EXACT_MEMORIZATION, EXTRACTION_STRENGTH
from expunge.metrics.perplexity import PERPLEXITY
from expunge.metrics.probability import PROBABILITY
from expunge.metrics.rouge import ROUGE_L_RECALL_UNICODE
from expunge.metrics.token_entropy import TOKEN_ENTROPY


def controlled(metric: Metric) -> Metric:
    """The metric, measured on the controls too."""
    better = metric.better | {"holdout": "closer_to_reference"}
    return replace(metric, kinds=("forget", "retain", "holdout"), better=better)


OWN = Suite(
    name="own",
    source="expunge",
    summary="your own rows: the forget set against controls that the model never saw",
    sets=(
        SetSpec("forget", "forget", "forget", label="Forget set"),
        SetSpec("retain", "retain", "retain", label="Retain set"),
        SetSpec("holdout", "holdout", "holdout", label="Holdout set"),
    ),
    metrics=(
        *map(
            controlled,
            (PROBABILITY, ROUGE_L_RECALL_UNICODE, FACT_ACCURACY, EXTRACTION_STRENGTH, EXACT_MEMORIZATION),
        ),
        TOKEN_ENTROPY,
        PERPLEXITY,
        *GIBBERISH,
        MIA_LOSS,
        MIA_ZLIB,
        MIA_MIN_K,
        MIA_MIN_K_PLUS_PLUS,
        MIA_GRADNORM,
        MIA_REFERENCE,
    ),
    max_tokens=200,
    limit_counts_prompt=False,
    retain_utility=(PROBABILITY, ROUGE_L_RECALL_UNICODE),
)
