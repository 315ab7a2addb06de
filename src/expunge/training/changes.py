"""What training changed: the loss of both sets before and after, on a sample, and whether any weight moved."""

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from expunge.errors import NonFiniteLoss
from expunge.models import Request, causal_model, run_views, token_values
from expunge.models.batching import by_length
from expunge.models.checks import local, not_finite
from expunge.objectives import log_probability
from expunge.training.batching import takes

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

LEAST_ROWS, MOST_ROWS = 8, 64  # of each set
SHARE = 40  # between those, one row for so many that are trained on: looking costs a few hundredths of the training
BATCH_TOKENS = 4096
# A change of the forget set's loss below this many nats a token, and below this share of it, is none to speak of.
LEAST, LEAST_SHARE = 0.01, 0.01


class Changes:
    """Looks before the first step and after the last one.

    Attributes:
        losses: By set: `before` and `after`, the mean negative log-likelihood of completion tokens in nats, `rows`.
        finished: Whether training is over.
    """

    finished = False

    def __init__(self, trainer: "UnlearningTrainer") -> None:
        self._trainer = trainer
        self._bits = {name: _bits(weight) for name, weight in trainer.model.named_parameters() if weight.requires_grad}
        self.losses: dict[str, dict[str, float]] = {}
        if trainer.is_world_process_zero():
            for name, keys in self._sample().items():
                self.losses[name] = {"before": self._loss(name, keys), "rows": len(keys)}

    def finish(self) -> None:
        """Look again, and say so where nothing has changed."""
        trainer, self.finished = self._trainer, True
        unmoved = all(self._bits.get(n) in (None, _bits(p)) for n, p in trainer.model.named_parameters())
        for name, keys in self._sample().items():
            after = self._loss(name, keys)  # by every process: sharded weights are gathered
            if name in self.losses:
                self.losses[name]["after"] = after
        if not trainer.is_world_process_zero():
            return
        forget, rate = self.losses["forget"], trainer.args.learning_rate
        moved = abs(forget["after"] - forget["before"])
        advice = f"Try train.learning_rate={10 * rate:g}, ten times this run's, or more epochs."
        if unmoved:
            warnings.warn(f"Training has changed no weight at all. {advice}", stacklevel=3)
        elif moved < max(LEAST, LEAST_SHARE * forget["before"]) and not trainer.args.noise:
            warnings.warn(
                f"Training has changed next to nothing: the forget set's loss is {forget['after']:.3g} nats a token, "
                f"and was {forget['before']:.3g}. {advice}",
                stacklevel=3,
            )

    def in_words(self) -> str:
        """The losses as a line for the terminal."""
        parts = (f"{name} set {loss['before']:.3g} -> {loss['after']:.3g}" for name, loss in self.losses.items())
        return f"loss: {', '.join(parts)} nats a token"

    def _sample(self) -> dict[str, list[tuple[int]]]:
        """Rows of each set, evenly spaced: the same ones each time."""
        pairing = self._trainer.pairing
        rows = min(MOST_ROWS, max(LEAST_ROWS, pairing.rows * self._trainer.epochs // SHARE))
        sizes = {"forget": pairing.forget}
        if takes(self._trainer.objective.views, "retain"):
            sizes["retain"] = pairing.retain
        return {name: [(i,) for i in range(0, size, -(-size // rows))] for name, size in sizes.items()}

    @torch.no_grad()
    def _loss(self, name: str, keys: list[tuple[int]]) -> float:
        model = self._trainer.model
        rows = [self._trainer.encoded.encode(name, key) for key in keys]
        training = model.training
        model.eval()
        total = 0.0
        for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
            request = Request([rows[i] for i in members], [log_probability])
            sharded = self._trainer.is_fsdp_enabled and self._trainer.state.global_step > 0
            values = run_views(model, [request]) if sharded else token_values(causal_model(model), [request])
            total -= float(values[0][0].sum())
        model.train(training)
        return total / max(1, sum(row.completion_tokens for row in rows))


def check_finite(model: nn.Module, step: int) -> None:
    """Refuse to go on with weights that are not numbers.

    Raises:
        NonFiniteLoss: Naming the weight.
    """
    if name := not_finite(model):
        raise NonFiniteLoss(f"After step {step}, the weight {name} is no longer finite.")


def _bits(weight: Tensor) -> int:
    """A sum over the bits of a weight: another weight, another sum."""
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return int(local(weight.detach()).contiguous().view(words[weight.element_size()]).sum(dtype=torch.int64))
