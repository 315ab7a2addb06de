"""Closer Look (arXiv 2410.08109): TOFU's sets under six metrics, and greedy answers cut at 200 tokens with the prompt.

In the released code the limit counts the padded prompt of a batch, so that it depends on the other rows; here it counts
the row's own prompt.
"""

from dataclasses import replace

from expunge.evaluation.suites.tofu import FORGET, REAL_AUTHORS, RETAIN, TOFU, WORLD_FACTS
from expunge.metrics.entailment import ENTAILMENT
from expunge.metrics.facts import FACT_ACCURACY
from expunge.metrics.probability import PROBABILITY
from expunge.metrics.rouge import ROUGE_L_RECALL
from expunge.metrics.similarity import COSINE_SIMILARITY
from expunge.metrics.token_entropy import TOKEN_ENTROPY
from expunge.metrics.truth_ratio import TRUTH_RATIO_CLOSER_LOOK

SIX = (PROBABILITY, ROUGE_L_RECALL, TRUTH_RATIO_CLOSER_LOOK, TOKEN_ENTROPY, COSINE_SIMILARITY, ENTAILMENT)
CLOSER_LOOK = replace(
    TOFU,
    name="closer_look",
    source="2410.08109",
    summary="TOFU's sets under six metrics: utility and forget efficacy",
    sets=(FORGET, RETAIN, REAL_AUTHORS, WORLD_FACTS),
    metrics=(*SIX, FACT_ACCURACY),
    limit_counts_prompt=True,
    utility=SIX,
)
