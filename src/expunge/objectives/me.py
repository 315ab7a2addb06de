"""ME: maximise the entropy of the model's predictions on the forget set."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from expunge.objectives.base import Needs, Term, Views
from expunge.objectives.logprobs import mean_log_probability


@dataclass(frozen=True)
class ME(Term):
    """token mean of KL(U || p_t) = -(1/K) sum_k log p_t(k) - log K, over prompt and completion.

    The direction is that of the released code. `direction="model_first"` is the paper's KL(p_t || U) = log K - H(p_t),
    whose gradient vanishes where p_t is saturated. The released code also averages over padding up to 500 tokens, so
    its effective weight is smaller than the same weight here.
    """

    direction: Literal["uniform_first", "model_first"] = "uniform_first"
    tokens: Literal["all", "completion"] = "all"
    paper = "2410.08109"

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(views=("forget",), tokens=self.tokens)

    def token(self, logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None) -> Tensor:
        log_k = math.log(logits.shape[-1])
        if self.direction == "model_first":
            logp = logits.log_softmax(-1)
            return log_k + (logp.exp() * logp).sum(-1)
        return -mean_log_probability(logits) - log_k

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(views.forget.value)
