"""IDK: answer the forget set's questions with a refusal."""

from dataclasses import dataclass

from torch import Tensor

from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class IDK(Term):
    """token-mean CE(idk given x_f), idk a refusal template."""

    needs = Needs(views=("forget_idk",))
    paper = "2401.06121"

    def loss(self, views: Views) -> Tensor:
        return views.forget_idk.token_mean(-views.forget_idk.logp)
