"""SURE: only the weights that matter to the forget set are updated, so that a larger step can be taken (2410.16454)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from expunge.objectives import Objective
from expunge.training.batching import VIEWS
from expunge.training.config import UnlearningConfig
from expunge.training.loss import compute, count
from expunge.training.steps.base import Rule

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer


class Saliency(Rule):
    """`train.salient_share`: train only the tensors with the largest gradient of the forget terms at the target.

    The saliency of a tensor is the Frobenius norm of its gradient. The paper chooses modules by a threshold on it; here
    they are tensors and a share of them, so that the others need neither gradient nor optimiser state.
    """

    option = "train.salient_share=0.3"
    paper = "2410.16454"
    summary = "trains only that share of the weight tensors, those with the largest forget gradient"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return args.salient_share is not None

    def before(self, trainer: "UnlearningTrainer") -> None:
        """Freeze the other tensors."""
        norms = forget_gradient_norms(trainer)
        # Names break ties, so that every process chooses the same.
        order = sorted(norms, key=lambda name: (-float(norms[name]), name))
        chosen = set(order[: max(1, round((trainer.args.salient_share or 0.0) * len(order)))])
        for name, parameter in trainer.model.named_parameters():
            parameter.requires_grad_(name in chosen)


def forget_gradient_norms(trainer: "UnlearningTrainer") -> dict[str, Tensor]:
    """The Frobenius norm of the forget terms' gradient of every trained tensor, over the first epoch's rows."""
    forget, pairing, model = trainer.objective.only("forget"), trainer.pairing, trainer.model
    size = trainer.args.per_device_train_batch_size
    batches = [
        trainer.encoded.batch({v: [key for i in part for key in VIEWS[v].keys(pairing, 0, i)] for v in forget.views})
        for part in (range(at, min(at + size, pairing.rows)) for at in range(0, pairing.rows, size))
    ]
    totals = count(forget, batches)
    model.zero_grad()
    for batch in batches:
        compute(model, forget, batch, totals, trainer.reference)[0].backward()
    norms = {
        name: p.grad.norm() if p.grad is not None else torch.zeros(())
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    model.zero_grad()
    return norms
