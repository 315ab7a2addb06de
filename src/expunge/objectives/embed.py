"""EMBED: keep the hidden states of retain rows where they are; RMU's partner."""

from dataclasses import dataclass

from torch import Tensor

from expunge.limits import Index
from expunge.objectives.base import Needs, Term, Views, asked


@dataclass(frozen=True)
class EMBED(Term):
    """row mean of the token mean of |h_l - h_l,ref|^2 / width at retain completions.

    h_l is the output of decoder layer `layer` (0-based), as in RMU. The released code averages over the tokens of the
    whole padded batch.
    """

    layer: Index = 7
    paper = "2403.03218"

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(views=("retain",), reference="hidden", layer=self.layer)

    def token(self, hidden: Tensor, targets: Tensor, reference_hidden: Tensor | None = None) -> Tensor:
        return (hidden - asked(reference_hidden)).square().mean(-1)

    def loss(self, views: Views) -> Tensor:
        return views.retain.row_mean(views.retain.row_sum(views.retain.value) / views.retain.lengths)
