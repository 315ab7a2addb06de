"""What an objective is made of: terms, the views of the rows they look at, and how values become a scalar.

A view is a set of rows as one term sees them; its name begins with the set's:

    forget             forget prompt, forget completion
    forget_idk         forget prompt, a refusal
    forget_mismatch    forget prompt, completions of other (retain) rows
    forget_alternate   forget prompt, an alternative answer sampled from the target model
    retain             retain prompt, retain completion
    retain_idk         retain prompt, a refusal

A batch may be cut over micro-batches and processes. Every mean is therefore a sum divided by a total over the whole
batch: sums of such parts, and their gradients, do not depend on the cut.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from expunge.objectives.logprobs import log_probability


@dataclass(frozen=True)
class Needs:
    """What a term must be given.

    Attributes:
        views: The views it looks at.
        reference: What it needs of the frozen target model: nothing, the negative log-likelihood of each row, the
            logits at each token, or the hidden states of `layer` there.
        tokens: Predicted tokens it looks at: the completion's, or all of the row but the first.
        skip: How many tokens at the start of each completion it leaves out.
        layer: Look at the output of this decoder layer (0-based) instead of the logits; the forward stops there.
        mismatches: With the view forget_mismatch: how many other rows' completions each forget row is answered with.
    """

    views: tuple[str, ...]
    reference: Literal["nll", "logits", "hidden"] | None = None
    tokens: Literal["completion", "all"] = "completion"
    skip: int = 0
    layer: int | None = None
    mismatches: int = 5


@dataclass(frozen=True)
class View:
    """Values of one view in a (micro-)batch: N predicted tokens of R rows, row after row.

    Attributes:
        value: What the term's `token` computed at each predicted token [N] (log-probabilities, unless it says else).
        row: The row of each token [N], ascending from 0.
        lengths: Predicted tokens of each row [R].
        token_total: Predicted tokens of the whole batch, over all micro-batches and processes.
        row_total: Rows of the whole batch, likewise.
        reference: Negative log-likelihood of each row under the reference model [R], where asked for.
        level: How unlikely each row is to become, in nats a token [R], where control rows say so.
        cap: What a token counts for there at most, in nats; None: what it is.
    """

    value: Tensor
    row: Tensor
    lengths: Tensor
    token_total: float
    row_total: float
    reference: Tensor | None = None
    level: Tensor | None = None
    cap: float | None = None

    @property
    def logp(self) -> Tensor:
        """Log-probability of each predicted token [N]."""
        return self.value

    @property
    def nll(self) -> Tensor:
        """Negative log-likelihood of each row: the sum over its tokens [R], in nats."""
        return -self.row_sum(self.logp)

    @property
    def reference_nll(self) -> Tensor:
        """Negative log-likelihood of each row under the reference model [R], in nats."""
        return asked(self.reference)

    def row_sum(self, values: Tensor) -> Tensor:
        """Sum [N] token values to [R] row values."""
        return values.new_zeros(len(self.lengths)).index_add(0, self.row, values)

    def token_mean(self, values: Tensor) -> Tensor:
        """This part's share of the mean over all tokens of the batch: a scalar; 0 where the batch has none."""
        return values.sum() / max(self.token_total, 1.0)

    def row_mean(self, values: Tensor) -> Tensor:
        """This part's share of the mean over all rows of the batch: a scalar; 0 where the batch has none."""
        return values.sum() / max(self.row_total, 1.0)


class Views:
    """The views of a batch by name, as attributes: `views.forget`, `views.retain_idk`."""

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = dict(views)

    def __getattr__(self, name: str) -> View:
        try:
            return self.__dict__["_views"][name]
        except KeyError:
            raise AttributeError(f"no view {name!r} was asked for in the term's `needs`") from None


def asked(reference: Tensor | None) -> Tensor:
    """Values of the reference model.

    Raises:
        LookupError: They are not there, since the term's `needs` do not ask for them.
    """
    if reference is None:
        raise LookupError("a term looks at values of the reference model that its `needs` do not ask for")
    return reference


# (logits or hidden states [n, width], targets [n], those of the reference model or None) -> [n]
TokenFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Term:
    """One term of an objective: a forget term or a regularisation term.

    A subclass states its `needs`, and maps the views to a scalar in `loss`. Its fields are its hyper-parameters. Where
    log-probabilities are not enough, it overrides `token`, which sees the logits of a chunk of tokens at a time, so
    that logits of a whole batch never exist at once.

    A forget term may bound the regularisation term's value and choose its weight anew after each optimiser step (see
    PDU). Terms stay pure: the weights are handed to `next_weight` and kept by whoever trains.

    Attributes:
        needs: What it must be given.
        paper: Where it was published: arXiv numbers.
        required: Hyper-parameters without a default that holds for all models.
        regulariser: The regularisation term it comes with where the objective names none.
    """

    needs: ClassVar[Needs]
    paper: ClassVar[str]
    required: ClassVar[tuple[str, ...]] = ()
    regulariser: ClassVar[str | None] = None

    def token(self, logits: Tensor, targets: Tensor, reference_logits: Tensor | None = None, /) -> Tensor:
        """What the term needs of each predicted token: logits [n, K] and targets [n] -> [n].

        With `needs.layer`, hidden states [n, width] take the place of both logits.
        """
        return log_probability(logits, targets)

    def loss(self, views: Views) -> Tensor:
        """This part's share of the term's value over the whole batch: a scalar to minimise."""
        raise NotImplementedError(f"{type(self).__name__} defines no loss.")

    @property
    def bound(self) -> float | None:
        """The value of the regularisation term below which it counts as kept, if the term sets one."""
        return None

    def next_weight(self, weight: float, value: float, epoch: int) -> float:
        """The regularisation term's weight for the next step, given its weight and value in this one.

        Args:
            weight: Of this step.
            value: Over this step's whole batch.
            epoch: This step's, counted from 0.
        """
        return weight

    @property
    def forget_every(self) -> int | None:
        """Which steps have forget rows, where an epoch is a pass over the retain set; None: one over the forget set."""
        return None

    @property
    def rests_at_first(self) -> bool:
        """Whether of several such passes the first one has no forget rows."""
        return False

    @property
    def trained_layers(self) -> tuple[int, ...] | None:
        """Decoder layers to train, all others frozen; None: the whole model."""
        return None

    @property
    def trained_modules(self) -> tuple[str, ...] | None:
        """Of those layers, the modules to train, by the last part of their names; None: the layers whole."""
        return None

    @property
    def token_function(self) -> TokenFunction:
        """The function to run at each token; the same object for all terms that need log-probabilities."""
        return log_probability if type(self).token is Term.token else self.token


def single_batch(value: Tensor, lengths: list[int], reference_nll: Tensor | None = None) -> View:
    """A view of one whole batch: the totals are its own. For tests, notebooks and one-off values."""
    sizes = torch.tensor(lengths)
    row = torch.repeat_interleave(torch.arange(len(lengths)), sizes).to(value.device)
    return View(value, row, sizes.to(value.device), float(sum(lengths)), float(len(lengths)), reference_nll)
