"""Training: UnlearningConfig, UnlearningTrainer, the reference values, runs."""

from expunge.training.config import UnlearningConfig
from expunge.training.trainer import UnlearningTrainer

__all__ = ["UnlearningConfig", "UnlearningTrainer"]
