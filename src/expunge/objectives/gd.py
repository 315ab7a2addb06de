"""GD: keep learning the retain set (gradient descent on it)."""

from dataclasses import dataclass

from torch import Tensor

from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class GD(Term):
    """token-mean CE(y_r)."""

    needs = Needs(views=("retain",))
    paper = "2401.06121"

    def loss(self, views: Views) -> Tensor:
        return views.retain.token_mean(-views.retain.logp)
