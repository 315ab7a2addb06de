"""Rules of the steps and of the weights, one small file each; they can be combined with any objective.

To add one: write its file and its options in `UnlearningConfig`, and add it to `RULES`.
"""

from expunge.training.steps.base import Rule
from expunge.training.steps.chip import Chip
from expunge.training.steps.gru import GRU
from expunge.training.steps.negation import Negation
from expunge.training.steps.noise import Noise
from expunge.training.steps.reset import Reset
from expunge.training.steps.saliency import Saliency
from expunge.training.steps.sharpness import Sharpness
from expunge.training.steps.two_states import TwoStates

# What happens before training happens in this order, what happens after it too.
RULES: tuple[type[Rule], ...] = (Noise, Reset, Chip, Saliency, GRU, Sharpness, TwoStates, Negation)

__all__ = ["RULES", "Rule"]
