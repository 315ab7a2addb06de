"""DualOptim: AdamW with separate moments for forget and retain terms (2504.15827)."""

from typing import TYPE_CHECKING

from expunge.errors import InputError
from expunge.objectives import Objective
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule
from expunge.training.steps.optimizers import PLAIN_ADAMW
from expunge.training.steps.window import SeparateGradients, check_both_sides

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer


class TwoStates(Rule):
    """`train.separate_states=true`: a large gradient of one side no longer shrinks the other's step.

    The optimiser takes both steps (see `optimizers.AdamW`); this rule computes the two gradients separately.
    """

    option = "train.separate_states=true"
    paper = "2504.15827"
    summary = "AdamW with separate moments for each side"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return args.separate_states

    def check(self, trainer: "UnlearningTrainer") -> None:
        check_both_sides(trainer, self.option)
        if trainer.args.optimizer not in PLAIN_ADAMW:
            raise InputError(f"{self.option} works with AdamW, not with train.optim={trainer.args.optimizer}.")

    def gradients(self, trainer: "UnlearningTrainer") -> SeparateGradients:
        return SeparateGradients()
