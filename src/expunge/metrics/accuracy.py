"""Accuracy on the questions of lm-evaluation-harness tasks, one value per question as the harness scored it."""

from expunge.metrics.base import Metric

ACCURACY = Metric(
    name="accuracy",
    per_example=lambda example: example.correct,
    definition="share of questions answered right, as the task of lm-evaluation-harness scores them",
    source="lm-evaluation-harness",
    needs=frozenset({"correct"}),
)
