"""WGA: gradient ascent weighted by how sure the model still is."""

from dataclasses import dataclass

from torch import Tensor

from expunge.limits import NotNegative
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class WGA(Term):
    """- token mean of p_t(y_t)^beta CE_t, the weight detached.

    Tokens the model no longer predicts stop being pushed. The released code divides by the tokens of each micro-batch,
    here by those of the whole batch.
    """

    beta: NotNegative = 1.0
    needs = Needs(views=("forget",))
    paper = "2502.19301"

    def loss(self, views: Views) -> Tensor:
        logp = views.forget.logp
        weight = (self.beta * logp.detach()).exp()
        return views.forget.token_mean(weight * logp)
