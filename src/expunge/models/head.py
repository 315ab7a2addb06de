"""From final hidden states to logits, as the model itself does it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from expunge.errors import InputError


@dataclass(frozen=True)
class LogitScale:
    """What some architectures do to the output of their last linear layer: multiply it, then squash it."""

    multiplier: float = 1.0
    softcap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        if self.multiplier != 1.0:
            logits = logits * self.multiplier
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits


def logit_scale(config: PretrainedConfig) -> LogitScale:
    """Read the scale from a model's configuration (Cohere, Granite and Falcon-H1 multiply; Gemma squashes)."""
    values = config.get_text_config().to_dict()
    multiplier = float(values.get("logit_scale") or 1.0) / float(values.get("logits_scaling") or 1.0)
    return LogitScale(
        multiplier * float(values.get("lm_head_multiplier") or 1.0), values.get("final_logit_softcapping")
    )


def output_head(model: PreTrainedModel) -> nn.Linear:
    """The model's last linear layer, or the wrapper that an adapter puts around it.

    Raises:
        InputError: The architecture has none.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise InputError(f"{model.config.model_type}: a model without an output head is no causal language model.")
    return cast(nn.Linear, head)  # PEFT's wrapper answers for the linear layer in it


def live_head(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """The model's own head: hidden states [n, width] to float32 logits [n, vocabulary]."""
    linear, scale = output_head(model), logit_scale(model.config)
    return lambda hidden: scale(linear(hidden)).float()


class FrozenHead:
    """A head that stays as it is now while the model is trained.

    The weight is copied only where training may change it: under LoRA the model's own is used.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        linear: Any = output_head(model)
        if not isinstance(linear, nn.Linear):  # wrapped by an adapter: what it wraps is the target's
            linear = linear.get_base_layer()
        copy = any(p.requires_grad for p in linear.parameters())

        def kept(parameter: Tensor) -> Tensor:
            return parameter.detach().clone() if copy else parameter.detach()

        self.weight = kept(linear.weight)
        self.bias = None if linear.bias is None else kept(linear.bias)
        self.scale = logit_scale(model.config)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden states [n, width] to float32 logits [n, vocabulary]."""
        weight = self.weight.to(hidden.device)
        bias = None if self.bias is None else self.bias.to(hidden.device)
        return self.scale(F.linear(hidden.to(weight.dtype), weight, bias)).float()


@torch.no_grad()
def check_head(model: PreTrainedModel) -> None:
    """Compare hidden state -> logits done here with the model's own forward on three tokens.

    Raises:
        InputError: They differ, so this architecture does something to its logits that `logit_scale` does not know.
    """
    training = model.training
    model.eval()
    ids = torch.tensor([[0, 1, 2]], device=model.device)
    ours = live_head(model)(model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state)
    theirs = model(input_ids=ids, use_cache=False).logits.float()
    model.train(training)
    if not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
        raise InputError(
            f"{model.config.model_type}: this architecture changes its logits in a way expunge does not know "
            "(see src/expunge/models/head.py); it cannot be used yet."
        )
