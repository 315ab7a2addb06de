"""DISTILL: imitate the model as it was given, on the forget rows; for UNDO, where it starts from a noised copy."""

from dataclasses import dataclass

from torch import Tensor

from expunge.objectives.base import Needs, Term, Views
from expunge.objectives.kl import KL


@dataclass(frozen=True)
class DISTILL(Term):
    """token mean over forget completions of KL(p_ref || p_theta): with `train.noise`, UNDO's distillation.

    The model given is one that was already unlearned: it is the teacher, its noised copy the student. What the teacher
    suppresses, the student never learns. KL does the same on the retain rows.
    """

    needs = Needs(views=("forget",), reference="logits")
    paper = "2506.06278"
    token = KL.token

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(views.forget.value)
