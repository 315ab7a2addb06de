"""MISMATCH: answer the forget set's prompts with the answers of other rows."""

from dataclasses import dataclass

from torch import Tensor

from expunge.limits import Count
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class MISMATCH(Term):
    """token-mean CE(y_r of a random other row given x_f), `answers` of them for each forget row."""

    answers: Count = 5
    paper = "2310.10683"

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(views=("forget_mismatch",), mismatches=self.answers)

    def loss(self, views: Views) -> Tensor:
        return views.forget_mismatch.token_mean(-views.forget_mismatch.logp)
