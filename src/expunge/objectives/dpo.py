"""DPO: a refusal is preferred to the forget set's answer."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from expunge.limits import Positive
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class DPO(Term):
    """-(2/beta) mean_i log sigmoid(beta [(log p(idk) - log p(y_f)) - (same under the reference)])."""

    beta: Positive = 0.1
    needs = Needs(views=("forget", "forget_idk"), reference="nll")
    paper = "2404.05868, 2410.08109"

    def loss(self, views: Views) -> Tensor:
        forget, idk = views.forget, views.forget_idk
        margin = (forget.nll - idk.nll) - (forget.reference_nll - idk.reference_nll)
        return forget.row_mean(-2 / self.beta * F.logsigmoid(self.beta * margin))
