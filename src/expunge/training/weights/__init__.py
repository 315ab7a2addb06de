"""Weight-level methods: what is done to the weights before or after training, whatever the objective."""

from expunge.training.weights.negate import Origin
from expunge.training.weights.noise import add_noise

__all__ = ["Origin", "add_noise"]
