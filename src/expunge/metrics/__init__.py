"""Metrics: per-example values in, aggregate out; no model in sight. The table below is the whole list."""

from expunge.metrics.accuracy import ACCURACY
from expunge.metrics.base import Better, Completion, Example, Kind, Label, Metric, Need
from expunge.metrics.bertscore import BERT_SCORE_F1
from expunge.metrics.bleu import BLEU, LEAK_RATE
from expunge.metrics.classifier import GIBBERISH, HARMFUL, REWARD
from expunge.metrics.diversity import DIVERSITY
from expunge.metrics.entailment import ENTAILMENT
from expunge.metrics.facts import FACT_ACCURACY
from expunge.metrics.hallucination import HALLUCINATION_RATE
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
from expunge.metrics.probability import PROBABILITY, PROBABILITY_GAP
from expunge.metrics.rouge import ROUGE_L_F1, ROUGE_L_F1_STEMMED, ROUGE_L_RECALL, ROUGE_L_RECALL_UNICODE
from expunge.metrics.similarity import COSINE_SIMILARITY, ORIGINAL_SIMILARITY
from expunge.metrics.token_entropy import TOKEN_ENTROPY
from expunge.metrics.truth_ratio import TRUTH_RATIO_CLOSER_LOOK, TRUTH_RATIO_TOFU

METRICS: tuple[Metric, ...] = (
    PROBABILITY,
    ROUGE_L_RECALL,
    ROUGE_L_RECALL_UNICODE,
    ROUGE_L_F1,
    ROUGE_L_F1_STEMMED,
    TRUTH_RATIO_TOFU,
    TRUTH_RATIO_CLOSER_LOOK,
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
    ACCURACY,
    *HARMFUL,
    LEAK_RATE,
    BLEU,
    HALLUCINATION_RATE,
    DIVERSITY,
    PERPLEXITY,
    *GIBBERISH,
    REWARD,
    ORIGINAL_SIMILARITY,
    BERT_SCORE_F1,
)

__all__ = ["METRICS", "Better", "Completion", "Example", "Kind", "Label", "Metric", "Need"]
