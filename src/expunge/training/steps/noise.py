"""UNDO: a noised copy of the unlearned model learns from it again, and never learns what it suppresses."""

from typing import TYPE_CHECKING

import torch
from peft import PeftModel
from torch import nn

from expunge.errors import InputError
from expunge.objectives import Objective
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer


class Noise(Rule):
    """`train.noise`: the model starts as a noised copy of itself; with DISTILL+KL, UNDO."""

    option = "train.noise=0.5"
    paper = "2506.06278"
    summary = "before training, replaces this share of every matrix by noise; with DISTILL+KL: UNDO"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return bool(args.noise)

    def check(self, trainer: "UnlearningTrainer") -> None:
        if isinstance(trainer.model, PeftModel):
            raise InputError("train.noise changes the weights below the adapter: it needs full training (no lora).")

    def before(self, trainer: "UnlearningTrainer") -> None:
        args = trainer.args
        add_noise(trainer.model, args.noise, args.noise_scale, args.seed)


@torch.no_grad()
def add_noise(model: nn.Module, alpha: float, beta: float, seed: int) -> None:
    """theta <- (1 - alpha) theta + alpha beta N on every matrix, N fresh initial weights (UNDO, 2506.06278).

    N is Xavier-uniform. Vectors (norms, biases) stay: shrunk norms would scale every layer's output, and they hold no
    facts. The released code shrinks them by 1 - alpha as well, without noise, and distils on general text; here the
    distillation is on the run's rows.

    Args:
        model: Changed in place.
        alpha: How much of the weights is replaced, from 0 to 1; the paper tries 0.1 to 0.8.
        beta: Scale of the noise; 0.1 in the paper.
        seed: The noise is the same on every device and process.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in filter(lambda one: one.requires_grad, model.parameters()):  # a tied matrix comes once
        if parameter.dim() < 2:
            continue
        noise = torch.empty(parameter.shape, dtype=torch.float32)
        nn.init.xavier_uniform_(noise, generator=generator)
        parameter.mul_(1 - alpha).add_(noise.to(parameter), alpha=alpha * beta)
