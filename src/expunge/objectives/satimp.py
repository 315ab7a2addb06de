"""SatImp: gradient ascent weighted by saturation and importance."""

from dataclasses import dataclass

from torch import Tensor

from expunge.limits import NotNegative
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class SatImp(Term):
    """- token mean of p^beta1 (1 - p)^beta2 CE_t with p = p_t(y_t), the weights detached.

    The released code divides by the tokens of each micro-batch, here by those of the whole batch.
    """

    beta1: NotNegative = 5.0
    beta2: NotNegative = 1.0
    needs = Needs(views=("forget",))
    paper = "2505.11953"

    def loss(self, views: Views) -> Tensor:
        logp = views.forget.logp
        p = logp.detach().exp()
        return views.forget.token_mean(p**self.beta1 * (1 - p).clamp(min=0) ** self.beta2 * logp)
