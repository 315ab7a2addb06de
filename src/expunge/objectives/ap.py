"""AP: answer preservation, the retain set's answers are preferred to refusals."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from expunge.limits import Positive
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class AP(Term):
    """-(1/beta) mean_i log sigmoid(beta (nll(idk|x_r) - nll(y_r|x_r))). No reference; 1/beta, not 2/beta."""

    beta: Positive = 0.1
    needs = Needs(views=("retain", "retain_idk"))
    paper = "2410.08109"

    def loss(self, views: Views) -> Tensor:
        margin = views.retain_idk.nll - views.retain.nll
        return views.retain.row_mean(-1 / self.beta * F.logsigmoid(self.beta * margin))
