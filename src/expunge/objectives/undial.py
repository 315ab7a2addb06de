"""UNDIAL: self-distillation from the target model's logits with the memorised token lowered."""

from dataclasses import dataclass

import torch
from torch import Tensor

from expunge.limits import Positive
from expunge.objectives.base import Needs, Term, Views, asked


@dataclass(frozen=True)
class UNDIAL(Term):
    """token mean of CE(softmax(z_ref - beta 1[y_t]), p_t) over forget completions.

    The released code averages over every position of the padded batch, the prompt's included; there, where its labels
    are -100, it lowers the hundredth token from the end of the vocabulary.
    """

    beta: Positive = 10.0
    needs = Needs(views=("forget",), reference="logits")
    paper = "2402.10052"

    def token(self, logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None) -> Tensor:
        reference = asked(reference_logits)
        lowered = torch.full_like(targets, -self.beta, dtype=reference.dtype)[:, None]
        soft = reference.scatter_add(-1, targets[:, None], lowered).softmax(-1)
        return -(soft * logits.log_softmax(-1)).sum(-1)

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(views.forget.value)
