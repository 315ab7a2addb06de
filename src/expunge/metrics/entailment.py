"""Entailment between the output and the truth by an NLI model (arXiv 2410.08109)."""

from expunge.metrics.base import Example, Metric
from expunge.metrics.rouge import rouge_l_recall

LEAST_RECALL = 0.1


def too_far(reference: str, output: str) -> bool:
    """Whether the output shares so little with the reference that the verdict is `no` without asking the NLI model."""
    return rouge_l_recall(reference, output) < LEAST_RECALL


def entailment(example: Example) -> float | None:
    """1 where the NLI label is entailment and the output shares a tenth of the reference's words, else 0."""
    if example.entails is None or example.generation is None:
        return None
    return float(example.entails and not too_far(example.reference, example.generation))


ENTAILMENT = Metric(
    name="entailment",
    label="Entailment",
    meaning="share of answers that agree with the truth (NLI model)",
    share=True,
    yes_no=True,
    per_example=entailment,
    definition="share of rows where the NLI model finds entailment (forget: output entails truth; retain-like: truth "
    "entails output); no where ROUGE-L recall < 0.1",
    source="2410.08109",
    needs=frozenset({"generation", "entailment"}),
    why_null="no NLI model was given: --nli-model sileod/deberta-v3-base-tasksource-nli (or a local folder)",
)
