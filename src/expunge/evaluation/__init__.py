"""Evaluation: what must be measured -> the fewest passes over the model -> one table of examples -> results."""

from expunge.evaluation.aggregate import Measurement, Summary
from expunge.evaluation.evaluate import evaluate
from expunge.evaluation.results import Results, load_results
from expunge.evaluation.sets import EvaluationData, load_sets
from expunge.evaluation.suite import SetSpec, Suite
from expunge.evaluation.suites import SUITES

__all__ = [
    "SUITES",
    "EvaluationData",
    "Measurement",
    "Results",
    "SetSpec",
    "Suite",
    "Summary",
    "evaluate",
    "load_results",
    "load_sets",
]
