"""expunge: make a language model forget, keep the rest, and show the evidence."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from expunge.evaluation import ComparedWith, Execution, JudgeModels, Questions, evaluate
    from expunge.training import UnlearningConfig, UnlearningTrainer

_HOMES = {
    "UnlearningConfig": "expunge.training",
    "UnlearningTrainer": "expunge.training",
    **dict.fromkeys(("ComparedWith", "Execution", "JudgeModels", "Questions", "evaluate"), "expunge.evaluation"),
}
__all__ = [
    "ComparedWith",
    "Execution",
    "JudgeModels",
    "Questions",
    "UnlearningConfig",
    "UnlearningTrainer",
    "__version__",
    "evaluate",
]


def __getattr__(name: str) -> Any:
    """Import torch and transformers only when a name that needs them is asked for."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'expunge' has no attribute {name!r}")
