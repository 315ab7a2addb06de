"""Training: UnlearningConfig, UnlearningTrainer, the reference values, runs."""

from expunge.models import without_bitsandbytes

with without_bitsandbytes():  # transformers' trainer imports PEFT
    import peft  # noqa: F401

from expunge.training.config import UnlearningConfig
from expunge.training.finetune import finetune
from expunge.training.recipe import Recipe, parse_overrides, read_recipe
from expunge.training.run import resumable_recipe, unlearn
from expunge.training.trainer import UnlearningTrainer

__all__ = [
    "Recipe",
    "UnlearningConfig",
    "UnlearningTrainer",
    "finetune",
    "parse_overrides",
    "read_recipe",
    "resumable_recipe",
    "unlearn",
]
