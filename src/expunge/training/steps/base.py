"""What a rule of steps or weights is: when it is asked for, and what it does before, in and after training."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from expunge.objectives import Objective
from expunge.training.config import UnlearningConfig

if TYPE_CHECKING:
    from expunge.training.steps.window import SeparateGradients
    from expunge.training.trainer import UnlearningTrainer


class Rule(ABC):
    """A change to steps or weights that can be combined with any objective; one object for each run that asks for it.

    Attributes:
        option: The option that asks for it, as a user writes it.
        paper: Where it was published: arXiv number.
        summary: What it does, in a line.
    """

    option: ClassVar[str]
    paper: ClassVar[str]
    summary: ClassVar[str]

    @staticmethod
    @abstractmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        """Whether these settings, or the objective, ask for it."""

    def check(self, trainer: "UnlearningTrainer") -> None:  # noqa: B027 - most rules can be combined with everything
        """Refuse settings, an objective or a model that it cannot be combined with.

        Raises:
            InputError: Naming the option and the fix.
        """

    def before(self, trainer: "UnlearningTrainer") -> None:  # noqa: B027
        """What happens to the weights before the first step; the same again when a run is resumed."""

    def gradients(self, trainer: "UnlearningTrainer") -> "SeparateGradients | None":
        """How a step combines the gradients of both sides; None: it takes the gradient of their sum."""
        return None

    def after(self, trainer: "UnlearningTrainer") -> None:  # noqa: B027
        """What happens to the weights after the last step."""
