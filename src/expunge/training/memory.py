"""What a run will hold in memory, worked out before it starts, and the cheapest change that would make it fit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from transformers import PretrainedConfig, PreTrainedModel

from expunge.models.attach import causal_model
from expunge.models.forward import KEPT_LOGIT_BYTES, LOGIT_BYTES

if TYPE_CHECKING:
    from peft import PeftModel

GIB = 2**30
# Room for what no formula names: the allocator's fragments, kernels' workspaces, the libraries themselves.
SLACK = 1.1


@dataclass(frozen=True)
class Shape:
    """What memory depends on.

    Attributes:
        parameters: Of the model.
        trainable: Of those, trained ones (an adapter's, under LoRA).
        weight_bytes: Per frozen or trained parameter of the model; 0.5 for 4-bit.
        state_bytes: Of optimiser state per trained parameter: 8 for AdamW in float32, 2 for 8-bit.
        compute_bytes: Per activation value: 4 in float32, 2 in bfloat16.
        tokens: In one pass: rows of a micro-batch, over all views, times their length.
        width, layers, inner, vocabulary: Of the model.
        key_value: Width of the keys, as of the values.
        checkpointing: Whether activations are computed again in the backward.
        frozen_head: Whether the reference keeps a copy of the output head (KL and soft targets, full training).
    """

    parameters: int
    trainable: int
    weight_bytes: float
    state_bytes: float
    compute_bytes: float
    tokens: int
    width: int
    layers: int
    inner: int
    vocabulary: int
    key_value: int
    checkpointing: bool = False
    frozen_head: bool = False


def plan(shape: Shape) -> dict[str, float]:
    """Bytes by what they hold.

    Activations kept for the backward of a layer, in units of its width: two norms' inputs and outputs, queries, the
    attention's output and its projection's input (6 in all), keys and values, and four of the feed-forward's width.
    Checkpointing keeps one per layer, and one layer's at a time.
    """
    per_layer = shape.compute_bytes * (6 * shape.width + 2 * shape.key_value + 4 * shape.inner)
    kept = (
        shape.compute_bytes * shape.width * shape.layers + per_layer
        if shape.checkpointing
        else per_layer * shape.layers
    )
    logits = 4.0 * shape.tokens * shape.vocabulary
    # Trained parameters are held in full precision by the optimiser's step; their gradients have their type.
    trained_bytes = max(shape.weight_bytes, 2.0)
    adapter = shape.trainable if shape.trainable < shape.parameters else 0
    return {
        "weights": shape.parameters * shape.weight_bytes + adapter * 4.0,
        "gradients": shape.trainable * (4.0 if adapter else trained_bytes),
        "optimiser": shape.trainable * shape.state_bytes,
        # Autocast keeps a copy of every trained weight it has cast until the forward is over.
        "cast weights": shape.trainable * shape.compute_bytes * (shape.compute_bytes < shape.weight_bytes),
        "reference": shape.frozen_head * shape.vocabulary * shape.width * shape.weight_bytes,
        "activations": shape.tokens * kept,
        # In float32: what is kept for the backward; and logits, their log-softmax and its gradient of one chunk.
        "logits": min(KEPT_LOGIT_BYTES, logits) + 3.0 * min(LOGIT_BYTES, logits),
    }


def total(shape: Shape) -> float:
    """Bytes in all, with some room for what no formula names."""
    return sum(plan(shape).values()) * SLACK


def cheapest_change(shape: Shape, available: float) -> str | None:
    """The first of these changes, cheapest first, after which the run fits; None if it fits as it is."""
    if total(shape) <= available:
        return None
    half = replace(shape, tokens=-(-shape.tokens // 2))
    again = replace(shape, checkpointing=True)
    small = replace(again, tokens=-(-shape.tokens // 8))
    eight_bit = replace(small, state_bytes=min(2, shape.state_bytes))
    # AdamW8bit of torchao; the first with 8-bit state that rounds stochastically.
    rounded = replace(eight_bit, **_in_bfloat16(shape))
    adapter = min(max(1, shape.parameters // 200), shape.trainable)
    lora = replace(small, trainable=adapter, state_bytes=8, frozen_head=False)
    eighth = "train.activation_checkpointing=true and an eighth of the micro-batch"
    changes = [
        ("halve train.per_device_train_batch_size and double train.gradient_accumulation_steps", half),
        ("train.activation_checkpointing=true", again),
        (eighth, small),
        (f"{eighth}, and an optimiser with 8-bit state, train.optim=adamw_bnb_8bit", eight_bit),
        (
            f"{eighth}, and bfloat16 weights with stochastic rounding and 8-bit state, "
            "--dtype bfloat16 train.optim=adamw_torch_8bit",
            rounded,
        ),
        ("an adapter instead of all weights, lora.r=8", lora),
        ("an adapter on bfloat16 weights, lora.r=8 --dtype bfloat16", replace(lora, **_in_bfloat16(shape))),
        ("an adapter on 4-bit weights, lora.r=8 --quantization nf4", replace(lora, weight_bytes=0.55)),
    ]
    for words, changed in changes:
        if total(changed) <= available:
            return words
    return "a smaller model or a larger device: none of the changes known here is enough"


def _in_bfloat16(shape: Shape) -> dict[str, float]:
    """Weights in bfloat16, and what is computed with them."""
    return {"weight_bytes": min(2.0, shape.weight_bytes), "compute_bytes": min(2.0, shape.compute_bytes)}


def shape_of(
    config: PretrainedConfig,
    parameters: int,
    trainable: int,
    weight_bytes: float,
    row_lengths: Sequence[int],
    state_bytes: float = 8.0,
    compute_bytes: float = 4.0,
    checkpointing: bool = False,
) -> Shape:
    """A shape from a model's configuration and the lengths of one micro-batch's rows, those of all views."""
    text = config.get_text_config()
    head = text.hidden_size // text.num_attention_heads
    return Shape(
        parameters=parameters,
        trainable=trainable,
        weight_bytes=weight_bytes,
        state_bytes=state_bytes,
        compute_bytes=compute_bytes,
        tokens=sum(row_lengths),
        width=text.hidden_size,
        layers=text.num_hidden_layers,
        inner=text.intermediate_size,
        vocabulary=text.vocab_size,
        key_value=(text.num_key_value_heads or text.num_attention_heads) * head,
        checkpointing=checkpointing,
    )


def shape_of_model(
    model: "PreTrainedModel | PeftModel", row_lengths: Sequence[int], optimizer: str, bf16: bool, checkpointing: bool
) -> Shape:
    """A shape from a loaded model, adapter included; weights are counted as they are stored."""
    parameters, causal = list(model.parameters()), causal_model(model)
    stored = sum(p.numel() * p.element_size() for p in parameters)
    count = causal.num_parameters()
    return shape_of(
        causal.config,
        parameters=count,
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        weight_bytes=stored / count,
        row_lengths=row_lengths,
        state_bytes=2.0 if "8bit" in optimizer else 8.0,
        compute_bytes=2.0 if bf16 or causal.dtype != torch.float32 else 4.0,
        checkpointing=checkpointing,
    )


def available_bytes(device: torch.device) -> float:
    """Memory of a device: all of a GPU's, what is free of the machine's for the CPU."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    import psutil

    return float(psutil.virtual_memory().available)


def in_words(shape: Shape, available: float) -> str:
    """The plan as a line or two for the terminal."""
    parts = ", ".join(f"{name} {_size(size)}" for name, size in plan(shape).items())
    line = f"memory: {parts}; about {_size(total(shape))} of {_size(available)}"
    change = cheapest_change(shape, available)
    return line if change is None else f"{line}. This does not fit. The cheapest change that would: {change}."


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"
