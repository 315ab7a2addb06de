"""GA: gradient ascent on the forget set."""

from dataclasses import dataclass

from torch import Tensor

from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class GA(Term):
    """- token-mean CE(y_f). Unbounded below: it diverges by design, so few steps and a regularisation term."""

    needs = Needs(views=("forget",))
    paper = "2310.10683"

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(views.forget.logp)
