"""PDU: flatten the logits on the forget set, subject to a bound on the retain loss."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from expunge.limits import Index, Positive
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class PDU(Term):
    """token mean of (max_k z - mean_k z)^2 over forget completions, subject to L_r <= eps.

    The regularisation term (GD where none is named) is the constraint, its weight the dual variable lambda: the total
    is w_f L_f + lambda (L_r - eps), and after each optimiser step lambda <- max(0, lambda + eta (L_r - eps)). Lambda
    starts at `retain_weight` and stays there for `warmup_epochs`. The released code updates it at every micro-batch of
    every process. For TOFU its settings are eps = 0.3, eta = 5, retain_weight = 100 and 5 such epochs of 10.

    `eps`, the retain loss not to be exceeded, in nats a token, has no default: it depends on the model.
    """

    eps: Positive | None = None
    eta: Positive = 1.0
    warmup_epochs: Index = 0
    needs = Needs(views=("forget",))
    paper = "2506.05314"
    required: ClassVar[tuple[str, ...]] = ("eps",)
    regulariser: ClassVar[str | None] = "GD"

    def token(self, logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None) -> Tensor:
        return (logits.amax(-1) - logits.mean(-1)).square()

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(views.forget.value)

    @property
    def bound(self) -> float | None:
        return self.eps

    def next_weight(self, weight: float, value: float, epoch: int) -> float:
        if self.eps is None or epoch < self.warmup_epochs:
            return weight
        return max(0.0, weight + self.eta * (value - self.eps))
