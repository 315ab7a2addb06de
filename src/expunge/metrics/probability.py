"""Length-normalised probability of the answer (TOFU, arXiv 2401.06121), and its gap to wrong answers (2506.12618)."""

import numpy as np

from expunge.metrics.base import Completion, Example, Metric


def mean_token_nll(completions: tuple[Completion, ...]) -> float | None:
    """Mean over completions of nll/T: minus the log of the geometric mean of their probabilities. None for none."""
    values = [c.token_nll for c in completions if c.token_nll is not None]
    return float(np.mean(values)) if values else None


def probability(example: Example) -> float | None:
    """p(y|x) = exp(-nll/T); among choices p(y) / (p(y) + sum_j p(wrong_j)), in logarithms against underflow."""
    if example.answer is None or example.answer.token_nll is None:
        return None
    nll = example.answer.token_nll
    if not example.choices:
        return float(np.exp(-nll))
    wrong = [c.token_nll for c in example.wrong if c.token_nll is not None]
    if not wrong:
        return None
    return float(np.exp(-nll - np.logaddexp.reduce([-nll, *(-w for w in wrong)])))


def probability_gap(example: Example) -> float | None:
    """p(para) / (p(para) + p(wrong)) with p(wrong) the geometric mean over wrong answers; 0.5 is indifference."""
    wrong = mean_token_nll(example.wrong)
    if example.paraphrase is None or example.paraphrase.token_nll is None or wrong is None:
        return None
    return float(np.exp(-np.logaddexp(0.0, example.paraphrase.token_nll - wrong)))


PROBABILITY = Metric(
    name="probability",
    label="Probability",
    meaning="length-normalised probability of the right answer",
    per_example=probability,
    definition="exp(-nll/T), T completion tokens with end-of-turn; on real_authors and world_facts p(y) / (p(y) + "
    "sum_j p(wrong_j))",
    source="2401.06121",
    needs=frozenset({"answer", "choices"}),
)
PROBABILITY_GAP = Metric(
    name="probability_gap",
    label="Probability gap",
    meaning="right against wrong answers' probability",
    per_example=probability_gap,
    definition="p(paraphrase) / (p(paraphrase) + p(wrong)), p(wrong) the geometric mean over wrong answers",
    source="2506.12618",
    needs=frozenset({"paraphrase", "wrong"}),
    why_null="it needs the columns of paraphrased and wrong answers (paraphrased_answer, perturbed_answer)",
)
