"""SimNPO: NPO without a reference model, normalised by length."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from expunge.limits import NotNegative, Positive
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class SimNPO(Term):
    """-(2/beta) mean_i log sigmoid(beta (nll_f / T - delta))."""

    beta: Positive = 4.5
    delta: NotNegative = 0.0
    needs = Needs(views=("forget",))
    paper = "2410.07163"

    def loss(self, views: Views) -> Tensor:
        margin = views.forget.nll / views.forget.lengths - self.delta
        return views.forget.row_mean(-2 / self.beta * F.logsigmoid(self.beta * margin))
