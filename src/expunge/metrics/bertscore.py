"""BERTScore (arXiv 1904.09675): two texts are alike where each token of one has a near token in the other."""

import numpy as np

from expunge.metrics.base import Example, Metric


def greedy_f1(one: np.ndarray, other: np.ndarray, counted: tuple[np.ndarray, np.ndarray] | None = None) -> float:
    """2 P R / (P + R): P is the mean over the tokens of `one` of their largest cosine in `other`, R the reverse.

    Args:
        one: embeddings of a text's tokens [n, width], of length 1.
        other: of the other text's [m, width].
        counted: which tokens the means are over, [n] and [m]; None: all. The others may be matched.
    """
    cosines = one @ other.T
    of_one, of_other = counted or (np.ones(len(one), bool), np.ones(len(other), bool))
    precision, recall = float(cosines.max(1)[of_one].mean()), float(cosines.max(0)[of_other].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def bert_score(example: Example) -> float | None:
    """F1 of the greedy answer and the original model's."""
    return example.bert_score_f1


BERT_SCORE_F1 = Metric(
    name="bert_score_f1",
    label="BERTScore with the original",
    meaning="token by token closeness in meaning to the original model's output",
    per_example=bert_score,
    definition="2 P R / (P + R) of this model's output and that of the model before unlearning to the same prompt: "
    "P is the mean over the output's tokens of the largest cosine with a token of the other, R the reverse; embeddings "
    "of one layer of an encoder, without idf weights, not rescaled; two empty outputs are alike",
    source="1904.09675",
    needs=frozenset({"generation", "original", "bert_score"}),
    kinds=("retain",),
    better={"retain": "higher"},
    why_null="it compares an unlearned model's outputs with those of the model before, by an encoder's tokens: "
    "--target-model and --bertscore-model",
)
