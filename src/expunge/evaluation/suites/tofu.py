"""TOFU (arXiv 2401.06121): invented authors, with the retain-like sets of the released data."""

from dataclasses import replace

from expunge.evaluation.suites.suite import ANSWER, SetSpec, Suite
from expunge.metrics.entailment import ENTAILMENT
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
from expunge.metrics.probability import PROBABILITY, PROBABILITY_GAP
from expunge.metrics.rouge import ROUGE_L_RECALL
from expunge.metrics.similarity import COSINE_SIMILARITY
from expunge.metrics.token_entropy import TOKEN_ENTROPY
from expunge.metrics.truth_ratio import TRUTH_RATIO_CLOSER_LOOK, TRUTH_RATIO_TOFU

FORGET = SetSpec("forget", "{forget_split}_perturbed", "forget", premise="output", label="Forget set")
RETAIN = SetSpec("retain", "retain_perturbed", "retain", label="Retain set")
# One-word answers without a paraphrase; the sentence to compare with is in a separate column.
REAL_AUTHORS = SetSpec(
    "real_authors",
    "real_authors_perturbed",
    "retain",
    paraphrase=ANSWER,
    truth="original_answer",
    choices=True,
    label="Real authors",
)
WORLD_FACTS = replace(REAL_AUTHORS, name="world_facts", configuration="world_facts_perturbed", label="World facts")
# As many rows as are forgotten, of the same kind, that no model was trained on: for membership inference.
HOLDOUT = SetSpec("holdout", "{holdout_split}", "holdout", label="Holdout set")

TOFU = Suite(
    name="tofu",
    source="2401.06121",
    summary="invented authors: utility, forget quality, memorisation, membership inference",
    sets=(FORGET, RETAIN, REAL_AUTHORS, WORLD_FACTS, HOLDOUT),
    metrics=(
        PROBABILITY,
        ROUGE_L_RECALL,
        TRUTH_RATIO_TOFU,
        TOKEN_ENTROPY,
        COSINE_SIMILARITY,
        ENTAILMENT,
        FACT_ACCURACY,
        EXTRACTION_STRENGTH,
        EXACT_MEMORIZATION,
        PROBABILITY_GAP,
        MIA_LOSS,
        MIA_ZLIB,
        MIA_MIN_K,
        MIA_MIN_K_PLUS_PLUS,
        MIA_GRADNORM,
        MIA_REFERENCE,
    ),
    max_tokens=200,
    limit_counts_prompt=False,
    utility=(PROBABILITY, ROUGE_L_RECALL, TRUTH_RATIO_TOFU),
    # As the Closer Look paper defines it, so with its truth ratio: the one where lower is better.
    efficacy=(ROUGE_L_RECALL, PROBABILITY, TRUTH_RATIO_CLOSER_LOOK, COSINE_SIMILARITY, ENTAILMENT),
)
