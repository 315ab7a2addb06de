"""UnlearningConfig: transformers' TrainingArguments with an objective and defaults that suit unlearning."""

import warnings
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, SkipValidation, TypeAdapter, ValidationError
from transformers import IntervalStrategy, SchedulerType, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import OptimizerNames

from expunge.errors import InputError, unknown
from expunge.limits import Count, Finite, Index, NotNegative, Positive, Seed, Share

# Settings of transformers' that would change nothing, or not what they say: what to do in their place.
_MEASURING = "nothing is measured in training; measure the finished run with `expunge eval`"
_OWN_BATCHES = "rows, views and their totals are handled by expunge itself"
IGNORED = {
    **dict.fromkeys(
        (
            *("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "eval_do_concat_batches", "do_eval"),
            *("eval_use_gather_object", "eval_accumulation_steps", "per_device_eval_batch_size", "batch_eval_metrics"),
            *("bf16_full_eval", "fp16_full_eval", "prediction_loss_only", "include_for_metrics", "do_predict"),
            *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
        ),
        _MEASURING,
    ),
    **dict.fromkeys(
        ("remove_unused_columns", "label_names", "length_column_name", "include_num_input_tokens_seen"), _OWN_BATCHES
    ),
    "label_smoothing_factor": "the objective alone decides the loss",
    "average_tokens_across_devices": "every mean is over all processes",
    "data_seed": "train.seed decides which rows meet",
    "auto_find_batch_size": "choose train.per_device_train_batch_size by the memory plan",
    "resume_from_checkpoint": "continue a run with --resume, in Python with train(resume_from_checkpoint=True)",
    "torch_compile": "use train.compile_functions=true, which compiles what is expensive",
}

# Settings that do nothing without another one.
GO_WITH = {
    "gru_smoothing": ("gradient", "gru"),
    "sharpness_radius": ("gradient", "sharpness"),
    "noise_scale": ("noise", "0.5"),
    "chip_energy": ("chip", "0.1"),
    "chip_layers": ("chip", "0.1"),
    "save_steps": ("save_strategy", "steps"),
    "logging_steps": ("logging_strategy", "steps"),
}


def _whole(epochs: float) -> float:
    if epochs != int(epochs):
        raise ValueError("use a whole number of passes")
    return epochs


def _some_steps(steps: int) -> int:
    if steps < -1:
        raise ValueError("use a number of steps, or -1 for as many as the epochs take")
    return steps


def _unmeasured(choice: Enum) -> Enum:
    if choice.value in ("reduce_lr_on_plateau", "greedy", "best"):
        raise ValueError("it depends on an evaluation metric, and nothing is measured in training")
    return choice


def _trackers(report_to: str | list[str] | None) -> str | list[str]:
    for name in report_to if isinstance(report_to, list) else [report_to or "none"]:
        if name not in (*INTEGRATION_TO_CALLBACK, "all", "none"):
            raise unknown("tracker", name, INTEGRATION_TO_CALLBACK)
        if name not in (*get_available_reporting_integrations(), "all", "none", "flyte"):
            raise ValueError(f"the package of {name} is not installed; install it, or leave it out")
    return report_to or "none"


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
        text_prompt: How many characters of a plain passage are its prompt, at most half of it; the rest is what is
            forgotten or kept. Needed where passages are answered: with a refusal, an alternative, another row's text.
        train_vision: Of a vision-language model train the vision tower, and what leads from it to the language model,
            too; an adapter gets layers there.
        forget_every: An epoch is one pass over the retain set, and every so many steps have forget rows beside the
            retain rows: for a retain set far larger than the forget set. Default: an epoch is one pass over the forget
            set, each row with a retain row. (RESET has objective.every.)
        stop_at_chance: Stop, and keep the model, once gradient ascent made the forget set less likely than chance
            (log K nats a token): what follows only destroys the model.
        gradient: "joint", the gradient of the whole objective; "gru", without the part that would raise the retain
            loss (2503.09117); "sharpness", the forget terms' taken where they are largest nearby (2502.05374).
        gru_smoothing: Weight of the newest retain gradient in the average that "gru" projects on; 1: no average.
        sharpness_radius: How far "sharpness" looks, as a norm over all weights.
        separate_states: AdamW with separate moments for forget and retain terms (DualOptim, 2504.15827).
        salient_share: Train only this share of the weight tensors, those with the largest forget gradient (SURE,
            2410.16454).
        noise: Before training, replace this share of every matrix by fresh noise; the model as it was is the
            reference. With DISTILL+KL: UNDO (2506.06278).
        noise_scale: Scale of that noise.
        chip: Before training, project what marks forget rows out of this share of the feed-forward neurons (CHIP,
            2512.09867), which has no training: max_steps=0, with an objective that has retain rows, e.g. GA+GD.
        chip_energy: Share of the energy of the directions that are projected out.
        chip_layers: First and last of the decoder layers that are changed, from 0; default: all.
        max_steps: Stop after so many steps; -1: as many as the epochs take; 0: none, the weights change by rules alone.
        train_sampling_strategy: Which rows share an optimiser step: "random"; "group_by_length", rows of similar
            length, the longest first; "sequential", as they stand in the forget set. Within a step rows are always
            distributed over micro-batches by length, which changes no number.
        dataloader_drop_last: Leave out the last step of an epoch where it is short of rows; they are other rows in each
            epoch. Default: it is taken.
        compile_functions: Compile what is computed from logits (`torch.compile`). `torch_compile`, which would compile
            the whole model, does not know views.
        negate: After training, replace what was learned by so many times its opposite: task-vector negation
            (2212.04089), with an objective that learns the forget set, e.g. GA with forget_weight=-1.
    """

    objective: str = "NPO+GD"
    objective_options: dict[str, Any] = field(default_factory=dict)
    max_length: Annotated[int, Field(ge=2)] | None = None
    text_prompt: Count | None = None
    train_vision: bool = False
    forget_every: Count | None = None
    stop_at_chance: bool = True
    gradient: Literal["joint", "gru", "sharpness"] = "joint"
    gru_smoothing: Share = 0.8
    sharpness_radius: Positive = 0.01
    separate_states: bool = False
    salient_share: Share | None = None
    noise: Share = 0.0
    noise_scale: NotNegative = 0.1
    chip: Share | None = None
    chip_energy: Share = 0.95
    chip_layers: tuple[Index, Index] | None = None
    negate: Finite | None = None
    compile_functions: bool = False

    learning_rate: Positive = 1e-5
    num_train_epochs: Annotated[Positive, AfterValidator(_whole)] = 5.0
    max_steps: Annotated[int, AfterValidator(_some_steps)] = -1
    per_device_train_batch_size: Count = 4
    gradient_accumulation_steps: Count = 8
    weight_decay: NotNegative = 0.01
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    adam_epsilon: NotNegative = 1e-8
    max_grad_norm: NotNegative = 1.0
    warmup_steps: NotNegative = 0.2
    lr_scheduler_type: Annotated[SchedulerType | str, BeforeValidator(SchedulerType), AfterValidator(_unmeasured)] = (
        "linear"
    )
    optim: Annotated[OptimizerNames | str, BeforeValidator(OptimizerNames)] = "adamw_torch_fused"
    seed: Seed = 42
    logging_strategy: Annotated[IntervalStrategy | str, BeforeValidator(IntervalStrategy)] = "steps"
    logging_steps: Positive = 1
    logging_nan_inf_filter: bool = False
    report_to: Annotated[str | list[str] | None, AfterValidator(_trackers)] = "none"
    save_strategy: Annotated[SaveStrategy | str, BeforeValidator(SaveStrategy), AfterValidator(_unmeasured)] = "epoch"
    save_steps: Positive = 500
    save_total_limit: Count | None = 1
    remove_unused_columns: bool = False
    dataloader_pin_memory: bool = False
    fsdp: SkipValidation[str | None] = None  # transformers takes more than it annotates: true, lists

    def __post_init__(self) -> None:
        for name, default in _defaults().items():
            if name in UnlearningConfig.__annotations__ or getattr(self, name) != default:
                setattr(self, name, checked(name, getattr(self, name)))
        for name in IGNORED:
            _refuse_ignored(name, getattr(self, name))
        for name, (other, choice) in GO_WITH.items():
            number = other in ("noise", "chip")
            off = not getattr(self, other) if number else getattr(self, other) not in (choice, "no")
            if off and getattr(self, name) != _defaults()[name]:
                raise InputError(f"train.{name} would be ignored: it requires train.{other}={choice}.")
        if self.max_steps == 0 and not (self.chip or self.noise):
            raise InputError("train.max_steps=0 changes nothing; it requires train.chip or train.noise. -1: no limit.")
        self.given = {name: getattr(self, name) for name, value in _defaults().items() if getattr(self, name) != value}
        try:
            super().__post_init__()
        except InputError:
            raise
        except (ValueError, TypeError, OSError, ImportError, LookupError, AttributeError) as error:
            raise InputError(f"train options: {error}") from error
        if self.train_sampling_strategy == "batch_rebalance":
            raise InputError(
                "train.train_sampling_strategy=batch_rebalance: rows of a step are distributed by length over "
                "micro-batches and processes anyway. Use random, group_by_length or sequential."
            )
        if self.torch_compile:  # by its backend or mode
            raise InputError(f"train.torch_compile: {IGNORED['torch_compile']}.")
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
    def optimizer(self) -> str:
        """The optimiser's name."""
        return OptimizerNames(self.optim).value

    @property
    def rows_per_step(self) -> int:
        """Forget rows of an optimiser step, over all micro-batches and processes."""
        return self.per_device_train_batch_size * self.world_size * self.gradient_accumulation_steps

    def steps_per_epoch(self, rows: int) -> int:
        """Optimiser steps of one pass over so many rows."""
        return rows // self.rows_per_step if self.dataloader_drop_last else -(-rows // self.rows_per_step)

    def epochs(self, rows: int) -> int:
        """Passes over so many rows, the last one perhaps in part: as many as `max_steps` asks for, if it does.

        Raises:
            InputError: There is not one whole step, and short ones are dropped.
        """
        steps = self.steps_per_epoch(rows)
        if not steps:
            raise InputError(
                f"train.dataloader_drop_last drops a step of fewer than {self.rows_per_step} rows, and a pass "
                f"has {rows}: nothing would be trained. Lower train.gradient_accumulation_steps."
            )
        if self.max_steps == 0:
            return 1
        return -(-self.max_steps // steps) if self.max_steps > 0 else int(self.num_train_epochs)


# What a reader of a run wants to know even where it is a default.
MAIN_SETTINGS = (
    *("learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("lr_scheduler_type", "warmup_steps", "weight_decay", "max_grad_norm", "optim", "seed", "max_length"),
)


def spelt_out(options: Mapping[str, Any]) -> dict[str, Any]:
    """`train` options with their proper types, and the main settings' defaults, as plain values for YAML."""
    values = {**{name: _defaults()[name] for name in MAIN_SETTINGS}, **convert_options(options)}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def convert_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check `train.KEY=VALUE` options and give each the type of its field.

    Raises:
        InputError: A key that is not a field, or a value that does not fit it.
    """
    known = {f.name for f in fields(UnlearningConfig) if f.init} - {"output_dir", "objective", "objective_options"}
    converted = {}
    for name, value in options.items():
        if name not in known:
            raise unknown("option train.KEY: KEY =", name, known)
        converted[name] = checked(name, "no" if value is False and name.endswith("_strategy") else value)  # YAML's no
        _refuse_ignored(name, converted[name])
    return converted


def checked(name: str, value: Any) -> Any:
    """A setting's value in its proper type.

    Raises:
        InputError: It does not fit.
    """
    try:
        return _adapter(name).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"train.{name}: {value!r} cannot be used: {reason[0].lower()}{reason[1:]}.") from error


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(UnlearningConfig, include_extras=True)[name])


def _refuse_ignored(name: str, value: Any) -> None:
    if name in IGNORED and value != _defaults()[name]:
        raise InputError(f"train.{name}={value} would be ignored: {IGNORED[name]}.")


@cache
def _defaults() -> dict[str, Any]:
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(UnlearningConfig)
    }
