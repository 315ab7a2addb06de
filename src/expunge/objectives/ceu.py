"""CE-U: cross-entropy to the model's own prediction with the true token taken out."""

from dataclasses import dataclass

from torch import Tensor

from expunge.limits import Index
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class CEU(Term):
    """token mean of CE(softmax(z with z[y_t] = -inf), p_t), the target detached, from completion token `skip` on.

    The first tokens are left alone so that an answer still begins as an answer does. The released code marks them per
    row as here; it averages over the tokens of each micro-batch.
    """

    skip: Index = 1
    paper = "2503.01224"

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(views=("forget",), skip=self.skip)

    def token(self, logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None) -> Tensor:
        others = logits.detach().scatter(-1, targets[:, None], float("-inf")).softmax(-1)
        return -(others * logits.log_softmax(-1)).sum(-1)

    def loss(self, views: Views) -> Tensor:
        return views.forget.token_mean(views.forget.value)
