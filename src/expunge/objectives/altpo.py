"""AltPO: alternative answers, sampled from the target model, are preferred to the forget set's."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from expunge.limits import Positive
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class AltPO(Term):
    """-(2/beta) mean_i log sigmoid(beta [(log p(alt) - log p(y_f)) - (same under the reference)]).

    DPO with an alternative answer as the winner: one for each forget row, sampled from the target model before training
    by asking it to invent other facts. The released code samples in a separate script, with another
    request, and can draw several for each row.
    """

    beta: Positive = 0.1
    needs = Needs(views=("forget", "forget_alternate"), reference="nll")
    paper = "2409.13474"

    def loss(self, views: Views) -> Tensor:
        forget, other = views.forget, views.forget_alternate
        margin = (forget.nll - other.nll) - (forget.reference_nll - other.reference_nll)
        return forget.row_mean(-2 / self.beta * F.logsigmoid(self.beta * margin))
