"""UnlearningConfig: transformers' TrainingArguments with an objective and defaults that suit unlearning."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Literal, get_type_hints

from transformers import TrainingArguments

from expunge.errors import InputError, unknown


@dataclass
class UnlearningConfig(TrainingArguments):
    """Settings of an unlearning run: everything `transformers.TrainingArguments` has, and what follows.

    The defaults are those published for TOFU with 7-8B models (see docs/papers.md); models of a million parameters need
    learning rates near 1e-3.

    Args:
        objective: A forget term and a regularisation term, e.g. "NPO+GD", or a named objective, e.g. "LLMU".
        objective_options: Hyper-parameters and weights, e.g. {"beta": 0.1, "AP.beta": 0.2, "forget_weight": 1.0}.
        max_length: The longest row in tokens; default: the model's context. Longer completions are cut, with a
            warning; plain text is cut into windows.
        stop_at_chance: Stop, and keep the model, once gradient ascent made the forget set less likely than chance
            (log K nats a token): what follows only destroys the model.
        gradient: "joint", the gradient of the whole objective; "gru", without the part that would raise the retain
            loss (2503.09117); "sharpness", the forget terms' taken where they are largest nearby (2502.05374).
        gru_smoothing: Weight of the newest retain gradient in the average that "gru" projects on; 1: no average.
        sharpness_radius: How far "sharpness" looks, as a norm over all weights.
        separate_states: AdamW with moments of their own for forget and retain terms (DualOptim, 2504.15827).
        salient_share: Train only this share of the weight tensors, those with the largest forget gradient (SURE,
            2410.16454).
        noise: Before training, replace this share of every matrix by fresh noise; the model as it was is the
            reference. With DISTILL+KL: UNDO (2506.06278).
        noise_scale: Scale of that noise.
        train_sampling_strategy: Which rows share an optimiser step: "random"; "group_by_length", rows of similar
            length, the longest first; "sequential", as they stand in the forget set. Within a step rows are always
            dealt to micro-batches by length, which changes no number.
        dataloader_drop_last: Leave out the last step of an epoch where it is short of rows; they are other rows in each
            epoch. Default: it is taken.
        compile_functions: Compile what is computed from logits (`torch.compile`). `torch_compile`, which would compile
            the whole model, does not know views.
        negate: After training, replace what was learned by so many times its opposite: task-vector negation
            (2212.04089), with an objective that learns the forget set, e.g. GA with forget_weight=-1.
    """

    objective: str = "NPO+GD"
    objective_options: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None
    stop_at_chance: bool = True
    gradient: Literal["joint", "gru", "sharpness"] = "joint"
    gru_smoothing: float = 0.8
    sharpness_radius: float = 0.01
    separate_states: bool = False
    salient_share: float | None = None
    noise: float = 0.0
    noise_scale: float = 0.1
    negate: float | None = None
    compile_functions: bool = False

    learning_rate: float = 1e-5
    num_train_epochs: float = 5.0
    per_device_train_batch_size: int = 4
    gradient_accumulation_steps: int = 8
    weight_decay: float = 0.01
    warmup_steps: float = 0.2
    logging_steps: float = 1
    logging_nan_inf_filter: bool = False
    save_strategy: str = "epoch"
    save_total_limit: int | None = 1
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_train_epochs <= 0 or self.num_train_epochs != int(self.num_train_epochs):
            raise InputError(
                f"train.num_train_epochs={self.num_train_epochs}: use a whole number of passes over the forget set."
            )
        if self.train_sampling_strategy == "batch_rebalance":
            raise InputError(
                "train.train_sampling_strategy=batch_rebalance: rows of a step are dealt by length to micro-batches "
                "and processes anyway. Use random, group_by_length or sequential."
            )
        if self.torch_compile:
            raise InputError("train.torch_compile: use train.compile_functions=true, which compiles what is expensive.")
        shares = {"gru_smoothing": self.gru_smoothing, "noise": self.noise, "salient_share": self.salient_share or 0.0}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"train.{name}={share}: use a number from 0 to 1.")
        if self.n_gpu > 1:
            warnings.warn(
                f"{self.n_gpu} GPUs are visible, and one of them is used. For all of them: --launch {self.n_gpu}, or "
                f"from Python torchrun --nproc-per-node {self.n_gpu}.",
                stacklevel=3,
            )
            self._n_gpu = 1  # transformers would wrap the model in DataParallel, which knows nothing of views

    def get_warmup_steps(self, num_training_steps: int) -> int:
        """Steps of rising learning rate, the first of which has none: a run of one step has no warm-up."""
        return 0 if num_training_steps == 1 else super().get_warmup_steps(num_training_steps)

    @property
    def rows_per_step(self) -> int:
        """Forget rows of an optimiser step, over all micro-batches and processes."""
        return self.per_device_train_batch_size * self.world_size * self.gradient_accumulation_steps

    def steps_per_epoch(self, rows: int) -> int:
        """Optimiser steps of one pass over so many forget rows."""
        return rows // self.rows_per_step if self.dataloader_drop_last else -(-rows // self.rows_per_step)

    def epochs(self, rows: int) -> int:
        """Passes over so many forget rows, the last one perhaps in part: as many as `max_steps` asks for, if it does.

        Raises:
            InputError: There is not one whole step, and short ones are dropped.
        """
        steps = self.steps_per_epoch(rows)
        if not steps:
            raise InputError(
                f"train.dataloader_drop_last drops a step of fewer than {self.rows_per_step} rows, and the forget set "
                f"has {rows}: nothing would be trained. Lower train.gradient_accumulation_steps."
            )
        return -(-self.max_steps // steps) if self.max_steps > 0 else int(self.num_train_epochs)


# What a reader of a run wants to know even where it is a default.
MAIN_SETTINGS = (
    *("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "seed", "max_length"),
)


def spelt_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """`train` options with their proper types, and the main settings' defaults, as plain values for YAML."""
    defaults = {f.name: f.default for f in fields(UnlearningConfig)}
    values = {**{name: defaults[name] for name in MAIN_SETTINGS}, **convert_options(options)}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def convert_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check `train.KEY=VALUE` options and give each the type of its field.

    Raises:
        InputError: A key that is not a field, or a value that does not fit it.
    """
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(UnlearningConfig)
    known = {f.name for f in fields(UnlearningConfig) if f.init} - {"output_dir", "objective", "objective_options"}
    converted = {}
    for name, value in options.items():
        if name not in known:
            raise unknown("option train.KEY: KEY =", name, known)
        if value is False and name.endswith("_strategy"):
            value = "no"  # YAML reads a bare no as false
        try:
            converted[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].lower()
            raise InputError(f"train.{name}: {value!r} cannot be used: {reason}.") from error
    return converted
