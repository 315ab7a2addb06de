"""RMU: steer the hidden states of forget rows to a random direction."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from expunge.limits import Index, NotNegative, Seed
from expunge.objectives.base import Needs, Term, Views


@dataclass(frozen=True)
class RMU(Term):
    """row mean of the token mean of |h_l - c u|^2 / width, u = uniform[0, 1) / its norm, at forget completions.

    h_l is the output of decoder layer `layer` (0-based), where the forward stops. Only the layers named by `train` are
    trained; by default `layer` and the two below it. Layer and c are tuned for each model: 7 and 6.5 are the paper's
    for Zephyr-7B, with an EMBED weight of 1200. The released code trains one matrix of each of the three layers, as
    `modules=("down_proj",)` does here, and averages over the tokens of the whole padded batch.
    """

    layer: Index = 7
    c: NotNegative = 6.5
    train: tuple[Index, ...] | None = None
    modules: tuple[str, ...] | None = None
    seed: Seed = 42
    paper = "2403.03218"

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(views=("forget",), layer=self.layer)

    @property
    def trained_layers(self) -> tuple[int, ...]:
        return self.train or tuple(range(max(0, self.layer - 2), self.layer + 1))

    @property
    def trained_modules(self) -> tuple[str, ...] | None:
        return self.modules

    def token(self, hidden: Tensor, targets: Tensor, reference_hidden: Tensor | None = None) -> Tensor:
        return (hidden - self.c * _direction(hidden.shape[-1], self.seed, hidden.device)).square().mean(-1)

    def loss(self, views: Views) -> Tensor:
        return views.forget.row_mean(views.forget.row_sum(views.forget.value) / views.forget.lengths)


@lru_cache(maxsize=8)
def _direction(width: int, seed: int, device: torch.device) -> Tensor:
    """The unit vector u [width]: the same on every device and process."""
    u = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    return (u / u.norm()).to(device)
