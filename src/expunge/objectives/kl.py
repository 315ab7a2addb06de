"""KL: stay close to the target model's predictions on the retain set."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from expunge.objectives.base import Needs, Term, Views, asked


@dataclass(frozen=True)
class KL(Term):
    """token mean, over retain completions, of KL(p_ref || p_theta): the forward KL.

    Never over prompt or padding; where others average over padding, the term's weight depends on the batch's shape.
    """

    needs = Needs(views=("retain",), reference="logits")
    paper = "2310.10683, 2401.06121"

    def token(self, logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None) -> Tensor:
        logp, logp_ref = logits.log_softmax(-1), asked(reference_logits).log_softmax(-1)
        return F.kl_div(logp, logp_ref, reduction="none", log_target=True).sum(-1)

    def loss(self, views: Views) -> Tensor:
        return views.retain.token_mean(views.retain.value)
