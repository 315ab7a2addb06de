"""The part of the trainer that turns gradients into steps, where it differs from transformers' own."""

import inspect
import warnings
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.optimizer import AcceleratedOptimizer
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel, SchedulerType

from expunge.objectives import Objective
from expunge.training.checkpoints import Resumable
from expunge.training.config import UnlearningConfig
from expunge.training.steps import RULES
from expunge.training.steps.optimizers import PLAIN_ADAMW, AdamW
from expunge.training.steps.window import SeparateGradients, Window

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer


DECAYING = 0.4  # share of the steps in which "warmup_stable_decay" lowers the learning rate,
DECAY = {"decay_type": "linear"}  # to zero


class Stepper(Resumable):
    """Follows the rules that the settings ask for, and chooses the optimiser.

    Attributes:
        rules: Those that are asked for, in the order of the table.
    """

    args: UnlearningConfig
    model: PreTrainedModel | PeftModel
    objective: Objective
    _separate: SeparateGradients | None = None  # computes the gradients of both sides apart
    _inputs: list[Any]  # the micro-batches of this optimiser step

    def choose_rules(self) -> None:
        """Find the rules that the settings ask for.

        Raises:
            InputError: One cannot be combined with the others, the objective or the model.
        """
        self.rules = [rule() for rule in RULES if rule.asked(self.args, self.objective)]
        for rule in self.rules:
            rule.check(self._me)

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """As transformers does; "warmup_stable_decay" decays over the last 40 % of the steps unless it is told."""
        if self.args.lr_scheduler_type == SchedulerType.WARMUP_STABLE_DECAY:
            given = cast(dict[str, Any], self.args.lr_scheduler_kwargs or {})
            self.args.lr_scheduler_kwargs = {"num_decay_steps": round(DECAYING * num_training_steps), **DECAY, **given}
        return super().create_scheduler(num_training_steps, optimizer)

    def before_steps(self) -> None:
        """What rules do to the weights before the first step."""
        for rule in self.rules:
            rule.before(self._me)

    def after_steps(self) -> None:
        """What rules do to the weights after the last step."""
        for rule in self.rules:
            rule.after(self._me)

    @property
    def inner_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser inside accelerate's wrapper, which it has in training."""
        return cast(AcceleratedOptimizer, self.optimizer).optimizer

    @property
    def _me(self) -> "UnlearningTrainer":
        return cast("UnlearningTrainer", self)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """As transformers does, remembering the micro-batches."""
        self._inputs, totals = super().get_batch_samples(*args, **kwargs)
        return self._inputs, totals

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of a micro-batch; with a gradient rule, of all of them when the last one comes."""
        if self._separate is None:
            self._separate = next((found for rule in self.rules if (found := rule.gradients(self._me))), None)
            if self._separate is None:
                return super().training_step(model, inputs, num_items_in_batch)
            self.add_callback(self._separate)
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        model.train()

        def loss(inputs: Any, objective: Objective, record: bool) -> Tensor:
            with self.compute_loss_context_manager():
                return self._me.share_of_loss(model, inputs, objective, num_items_in_batch, record)

        value = self._separate(Window(model, self._inputs, self.objective, loss, self.accelerator))
        self._hand_over()
        return value

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = cast(Tensor, super()._clip_grad_norm(model))
        if self._separate is not None and self.args.separate_states:
            self._separate.clipped((self.args.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
            self._hand_over()
        return norm

    def _hand_over(self) -> None:
        """Give an optimiser with a state for each side the forget side's share of the gradient."""
        if self.args.separate_states and self._separate is not None:
            cast(AdamW, self.inner_optimizer).forget_gradient = self._separate.forget

    def get_optimizer_cls_and_kwargs(self, args: Any, model: Any = None) -> tuple[Any, dict[str, Any]]:  # type: ignore[override]
        """transformers' choice, but for AdamW with a state for each side, and rounding stochastically where it can."""
        kind, options = super().get_optimizer_cls_and_kwargs(args, model)
        bf16 = any(p.dtype == torch.bfloat16 for p in model.parameters() if p.requires_grad)
        if args.optim.value in PLAIN_ADAMW and (bf16 or args.separate_states):
            return AdamW, {name: options[name] for name in ("lr", "betas", "eps")} | {"separate": args.separate_states}
        if bf16 and "bf16_stochastic_round" in inspect.signature(kind).parameters:  # torchao's
            return kind, {**options, "bf16_stochastic_round": True}
        if bf16:
            warnings.warn(
                f"train.optim={args.optim.value} rounds bfloat16 weights to nearest, and most small updates are lost. "
                "adamw_torch and adamw_torch_8bit round stochastically.",
                stacklevel=2,
            )
        return kind, options
