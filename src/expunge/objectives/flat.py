"""FLAT: forget data only; an f-divergence between refusals and the forget set's answers is maximised."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from expunge.objectives.base import Needs, Term, View, Views


@dataclass(frozen=True)
class FLAT(Term):
    """mean_i of 0.5 tanh(P_f) - 0.5 tanh(P_idk), P the row's mean completion-token probability (total variation).

    `divergence="kl"` gives exp(P_f - 1) - P_idk. The released code averages P over a micro-batch before the tanh or
    exp, so that its value depends on how a batch is cut; here each row's P goes through it.
    """

    divergence: Literal["tv", "kl"] = "tv"
    needs = Needs(views=("forget", "forget_idk"))
    paper = "2410.11143"

    def loss(self, views: Views) -> Tensor:
        forget, idk = (_mean_probability(view) for view in (views.forget, views.forget_idk))
        if self.divergence == "kl":
            return views.forget.row_mean((forget - 1).exp() - idk)
        return views.forget.row_mean(0.5 * torch.tanh(forget) - 0.5 * torch.tanh(idk))


def _mean_probability(view: View) -> Tensor:
    """Mean probability of each row's completion tokens [R]."""
    return view.row_sum(view.logp.exp()) / view.lengths
