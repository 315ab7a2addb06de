"""The part of the trainer that turns gradients into steps, where it differs from transformers' own."""

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from expunge.errors import InputError
from expunge.objectives import Objective
from expunge.training.optimizers import AdamW
from expunge.training.wrappers.gru import Rectified
from expunge.training.wrappers.sharpness import Sharpness
from expunge.training.wrappers.window import Separate, Window

PLAIN_ADAMW = ("adamw_torch", "adamw_torch_fused")


class Steps(Trainer):
    """Computes the gradients of both sides apart where the settings ask for it, and chooses the optimiser."""

    objective: Objective
    _rule: Separate | None = None
    _inputs: list[Any]  # the micro-batches of this optimiser step

    def check_steps(self) -> None:
        """Refuse settings that contradict each other or the objective.

        Raises:
            InputError: Naming the option and the fix.
        """
        apart = self.args.gradient != "joint" or self.args.separate_states
        if apart and not self.objective.only("retain").terms:
            raise InputError(
                f"train.gradient and train.separate_states need a regularisation term, and {self.objective.name} has "
                "none: add one, e.g. +GD."
            )
        if self.args.separate_states and self.args.optim.value not in PLAIN_ADAMW:
            raise InputError(f"train.separate_states works with AdamW, not with train.optim={self.args.optim.value}.")

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """As transformers does, remembering the micro-batches."""
        self._inputs, totals = super().get_batch_samples(*args, **kwargs)
        return self._inputs, totals

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of a micro-batch; with a gradient rule, of all of them when the last one comes."""
        if self.args.gradient == "joint" and not self.args.separate_states:
            return super().training_step(model, inputs, num_items_in_batch)
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        if self._rule is None:
            self._rule = self._new_rule()
            self.add_callback(self._rule)
        model.train()

        def loss(inputs: Any, objective: Objective, record: bool) -> Tensor:
            with self.compute_loss_context_manager():
                return self.share_of_loss(model, inputs, objective, num_items_in_batch, record)

        value = self._rule(Window(model, self._inputs, self.objective, loss, self.accelerator))
        if self.args.separate_states:
            self.optimizer.optimizer.forget_gradient = self._rule.forget
        return value

    def share_of_loss(self, model: Any, inputs: Any, objective: Objective, totals: Any, record: bool = True) -> Tensor:
        """A micro-batch's share of the loss over the whole batch, for some of the objective's terms."""
        raise NotImplementedError

    def _new_rule(self) -> Separate:
        match self.args.gradient:
            case "gru":
                return Rectified(self.optimizer.optimizer, self.args.gru_smoothing)
            case "sharpness":
                return Sharpness(self.args.sharpness_radius)
        return Separate()

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        if self._rule is not None and self.args.separate_states:
            self._rule.clipped((self.args.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
            self.optimizer.optimizer.forget_gradient = self._rule.forget
        return norm

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
