"""NPO: negative preference optimisation."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from expunge.limits import Positive
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class NPO(Term):
    """-(2/beta) mean_i log sigmoid(beta (nll_f - nll_f,ref)).

    On log-probabilities. The code released with MUSE feeds raw logits where the paper has log-probabilities.
    """

    beta: Positive = 0.1
    needs = Needs(views=("forget",), reference="nll")
    paper = "2404.05868"

    def loss(self, views: Views) -> Tensor:
        margin = views.forget.nll - views.forget.reference_nll
        return views.forget.row_mean(-2 / self.beta * F.logsigmoid(self.beta * margin))
