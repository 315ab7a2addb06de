"""RESET: weights go part of the way back to an anchor, the retain set is learned again, the forget set is held back."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.errors import InputError
from expunge.limits import Count, Index, NotNegative, Positive, Share
from expunge.objectives.base import Needs, Term, Views

TINY = 1e-9  # of all that goes in: a direction that has less is used by nobody, and stays


@dataclass(frozen=True)
class RESET(Term):
    """hinge/2 * row mean of max(0, level - nll_f / T)^2: forget rows as unlikely as rows never seen, and no further.

    Held from both sides it is (level - nll_f / T)^2: rows push each other beyond their levels, and nothing else brings
    them back. A token then counts for no more than `cap` nats, as in the level: else those that are unlikely already
    would be pushed most.

    Before the first step every chosen matrix W goes back towards an anchor, fresh initial weights or those of an anchor
    model: as by (1 - reset) W + reset W_anchor (shrink and perturb), or along what forget rows put in. Then the retain
    rows are learned again: an epoch is one pass over the retain set, and every `every`-th step has as many forget rows
    as retain rows, under the hinge.

    Attributes:
        reset: How far to go back, from 0 to 1; default: `expunge unlearn` chooses it by trials on retain rows.
        level: Nats a token; default: each forget row's own, from the holdout rows as the model stands when an epoch
            begins (see `unseen_levels`).
        hinge: Weight of this term.
        held: Held at its level from "below" alone, or from "both" sides, for which its own text is used to make a row
            more likely again.
        every: Which steps have forget rows.
        modules: Which matrices of the decoder layers are reset; "all": the embeddings too.
        layers: First and last of the layers that are reset, from 0; default: all.
        embeddings: Where not all is reset: reset the embeddings of tokens that only forget rows have.
        along: Directions of a matrix's inputs that are reset: "all" alike, or "forget", the more the more forget rows
            use them than retain rows do (see `towards`).
    """

    reset: Share | None = None
    level: Positive | None = None
    hinge: NotNegative = 0.2
    held: Literal["below", "both"] = "below"
    every: Count = 8
    modules: Literal["all", "mlp", "attention"] = "all"
    layers: tuple[Index, Index] | None = None
    embeddings: bool = True
    along: Literal["all", "forget"] = "all"
    needs = Needs(views=("forget",))
    paper = "1910.08475"
    regulariser = "GD"

    @property
    def forget_every(self) -> int:
        return self.every

    @property
    def rests_at_first(self) -> bool:
        """Levels of a model that was just reset say nothing: they fall by nats in the first pass."""
        return self.level is None and self.reset != 0

    def loss(self, views: Views) -> Tensor:
        view = views.forget
        level = view.level if self.level is None else self.level
        if level is None:
            raise InputError("RESET needs objective.level, nats a token, where it is not taken from control rows.")
        tokens = -view.logp if view.cap is None else (-view.logp).clamp(max=view.cap)
        gap = level - view.row_sum(tokens) / view.lengths
        return view.row_mean(self.hinge / 2 * (F.relu(gap) if self.held == "below" else gap).square())


def towards(weight: Tensor, anchor: Tensor, reset: float, retain: Tensor, forget: Tensor) -> Tensor:
    """A matrix moved towards its anchor along what forget rows put in, and kept along what retain rows do [out, in].

    W' = W + reset (A - W) F ((1 - reset) R + reset F)^-1, which makes (1 - reset) E|(W' - W) x|^2 over retain rows and
    reset E|(W' - A) x|^2 over forget rows as small as can be together. Where both use a direction alike, it is moved as
    by (1 - reset) W + reset A; one that neither uses stays.

    Args:
        weight: W.
        anchor: A.
        reset: From 0 to 1.
        retain: R, the mean of x x' over inputs x of retain rows [in, in]; or its diagonal [in], where it is one.
        forget: F, the same of forget rows.
    """
    both = (1 - reset) * retain + reset * forget
    if both.dim() == 1:
        return weight.double() + (anchor - weight).double() * reset * forget / both.clamp(min=TINY)
    both = both + TINY * both.trace() * torch.eye(len(both), dtype=both.dtype, device=both.device)
    return weight.double() + reset * torch.linalg.solve(both, forget @ (anchor - weight).double().T).T


def unseen_levels(forget: Tensor, holdout: Tensor, forget_hardness: Tensor, holdout_hardness: Tensor) -> Tensor:
    """How unlikely each forget row would be, had the model never seen it: nats a token [F].

    What a row has by nature is predicted from its hardness, by a line through the holdout rows. What is left of each
    forget row then becomes what is left of the holdout row of the same rank: by it the sets cannot be told apart, and
    which of the forget rows are the easier ones stays.

    Args:
        forget: Negative log-likelihood of each forget row under the model, in nats a token, as they are counted [F].
        holdout: The same of rows that were never seen [H].
        forget_hardness: How unlikely each forget row is to whoever knows the retain rows alone [F].
        holdout_hardness: The same of the holdout rows [H].
    """
    centred = holdout_hardness - holdout_hardness.mean()
    spread = centred.square().sum()
    slope = (centred @ holdout) / spread if spread > 0 else 0.0
    left_of_forget, left_of_holdout = forget - slope * forget_hardness, holdout - slope * holdout_hardness
    return slope * forget_hardness + of_same_rank(left_of_forget, left_of_holdout)


def of_same_rank(values: Tensor, controls: Tensor) -> Tensor:
    """For each value [N] the control value of the same rank: of N and M values, the quantile (rank + 1/2) / N of M."""
    rank = values.argsort(stable=True).argsort()
    return torch.quantile(controls, (rank + 0.5) / len(values))
