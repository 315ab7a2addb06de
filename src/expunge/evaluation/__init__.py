"""Evaluation: what is asked (suites) -> passes over the model -> judges of its outputs -> results.

Names are imported when they are asked for: a report reads results without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.evaluation.measure import evaluate
    from expunge.evaluation.request import ComparedWith, Execution, JudgeModels, Questions
    from expunge.evaluation.results.schema import Measurement, Results, Summary, load_results
    from expunge.evaluation.suites import SUITES, SetSpec, Suite
    from expunge.evaluation.suites.sets import EvaluationData, load_sets

_HOMES = {
    "evaluate": "measure",
    "ComparedWith": "request",
    "Execution": "request",
    "JudgeModels": "request",
    "Questions": "request",
    "Measurement": "results.schema",
    "Results": "results.schema",
    "Summary": "results.schema",
    "load_results": "results.schema",
    "SUITES": "suites",
    "SetSpec": "suites",
    "Suite": "suites",
    "EvaluationData": "suites.sets",
    "load_sets": "suites.sets",
}
__all__ = [
    "SUITES",
    "ComparedWith",
    "EvaluationData",
    "Execution",
    "JudgeModels",
    "Measurement",
    "Questions",
    "Results",
    "SetSpec",
    "Suite",
    "Summary",
    "evaluate",
    "load_results",
    "load_sets",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"expunge.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'expunge.evaluation' has no attribute {name!r}")
