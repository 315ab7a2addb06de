"""Accuracy on the questions of lm-evaluation-harness tasks, one value per question as the harness scored it."""

from expunge.metrics.base import Metric

ACCURACY = Metric(
    name="accuracy",
    label="Accuracy",
    meaning="share of questions answered right",
    share=True,
    yes_no=True,
    per_example=lambda example: example.correct,
    definition="share of questions answered right, as the task of lm-evaluation-harness scores them",
    source="lm-evaluation-harness",
    needs=frozenset({"correct"}),
)
