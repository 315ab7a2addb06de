"""UnlearningTrainer: any objective on any causal language model, its numbers independent of how batches are cut."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftConfig
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.trainer_utils import TrainOutput

from expunge.data import PromptStyle, Row, load_rows
from expunge.errors import InputError, NonFiniteLoss
from expunge.files import follow_umask
from expunge.models import (
    ModelOrPlace,
    attach_views,
    causal_model,
    check_head,
    check_same_tokenizer,
    context_length,
    fingerprint,
    keep_unpacked,
    kept_style,
    loaded,
    output_head,
    packs_rows,
    save_tokenizer,
)
from expunge.objectives import Objective, Term
from expunge.runs import CACHES, TEMPORARY, TRAIN_LOG
from expunge.training.batching import (
    Collator,
    EncodedViews,
    EpochSampler,
    ForgetDataset,
    Order,
    Pairing,
    all_keys,
    plan_rows,
)
from expunge.training.batching.order import Strategy
from expunge.training.callbacks import EpochClock, Progress
from expunge.training.changes import Changes, check_finite
from expunge.training.checkpoints import (
    WholeCheckpoint,
    checkpoint_to_resume,
    last_whole_checkpoint,
    remove_checkpoints,
    state_of,
    trim_log,
)
from expunge.training.config import UnlearningConfig
from expunge.training.controls import ControlLevels, check_controls, needs_level
from expunge.training.evidence import Evidence, recipe_in_python
from expunge.training.frozen import StoredReference, freeze
from expunge.training.guard import Guard
from expunge.training.lock import only_process
from expunge.training.loss import compute, count
from expunge.training.memory import Shape, shape_of_model
from expunge.training.recipe import objective_of
from expunge.training.step_log import TERM, below_chance, terms_in, write_step
from expunge.training.steps.reset import check_anchor
from expunge.training.steps.stepper import Stepper
from expunge.training.term_weights import TermWeights
from expunge.training.trainable import check_trainable, freeze_layers, freeze_vision, with_adapter


class UnlearningTrainer(Stepper):
    """Unlearns the forget set and keeps the retain set.

    Args:
        model: The target, its place (folder, adapter folder, Hub name), or a function that loads it and its tokenizer.
        args: Settings; `args.objective` names the objective.
        forget_dataset: Rows to forget, or a SPEC to read them from.
        retain_dataset: Rows to keep, or a SPEC; needed by objectives with a view of the retain set.
        processing_class: The tokenizer, or the processor; read from the model's place where `model` is a path.
        peft_config: Train an adapter, e.g. `LoraConfig(r=8)`, instead of all weights.
        refusals: Refusal templates; default: the hundred that come with expunge.
        objective: A custom objective or term, in place of `args.objective`.
        callbacks: As in `transformers.Trainer`.
        reference: The frozen model to compare with, where that is not the target as it is now: given like `model`. What
            is needed of it is computed before the target is loaded, so that the two are never in memory together.
        anchor: Where the objective RESET moves the weights: a model, given like `model`, or "fresh"; default: the model
            below the target's adapter, if it has one, else fresh weights where the retain set can make up for them.
        holdout: Rows never trained on, or a SPEC, from which RESET takes its level.
        style: How conversations are written; default: as for the model before, where `model` is a path and says so.

    Attributes:
        recipe: What the run does, as it is written to the run folder.
        changes: What training changed; None before it is over.

    Raises:
        InputError: Sets that are empty or overlap, a prompt that fills the context, an unknown objective; from `train`,
            a run that cannot be resumed.
        NonFiniteLoss: From `train`, when the loss stops being finite; the last good checkpoint is kept.
    """

    # Whether the run folder gets recipe, environment and caches, so that the run can be resumed and looked into.
    recorded = True
    processing_class: PreTrainedTokenizerBase
    encoded: EncodedViews
    pairing: Pairing
    epochs: int

    def __init__(
        self,
        model: ModelOrPlace,
        args: UnlearningConfig,
        forget_dataset: Sequence[Row] | str | Path,
        retain_dataset: Sequence[Row] | str | Path | None = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        peft_config: PeftConfig | None = None,
        refusals: Sequence[str] | None = None,
        objective: Objective | Term | str | None = None,
        callbacks: list[TrainerCallback] | None = None,
        reference: ModelOrPlace | None = None,
        anchor: ModelOrPlace | None = None,
        holdout: Sequence[Row] | str | Path | None = None,
        style: PromptStyle | None = None,
    ) -> None:
        set_seed(args.seed)
        place = str(model) if isinstance(model, (str, Path)) else None
        self.style = style or (kept_style(place) if place else None) or PromptStyle()
        self.objective = objective_of(objective or args.objective, args.objective_options)
        self.anchor = check_anchor(self.objective, anchor, place)
        self.holdout = load_rows(holdout) if isinstance(holdout, (str, Path)) else list(holdout or ())
        check_controls(self.objective, self.holdout)
        self.anchor_fingerprint: str | None = None
        self._folder = Path(cast(str, args.output_dir))  # transformers fills it in
        self._evidence = Evidence(self._folder)
        self.changes: Changes | None = None
        self.reference: StoredReference | None = None
        self.other_reference: str | None = None
        cache = self._folder / CACHES if self.recorded else None

        def plan(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
            length = min((n for n in (args.max_length, context_length(config)) if n), default=None)
            sets = forget_dataset, retain_dataset, refusals
            self.encoded, self.pairing = plan_rows(self.objective, *sets, tokenizer, length, args, cache, self.style)
            self.epochs = args.epochs(self.pairing.rows)

        other_tokenizer = None
        if reference is not None:
            frozen, other_tokenizer = loaded(reference, processing_class)
            plan(other_tokenizer, frozen.config)
            self.reference = self._freeze_other(frozen, args)
            del frozen
        model, processing_class = loaded(model, processing_class)
        if self.reference is None or other_tokenizer is None:
            plan(processing_class, model.config)
        else:
            check_same_tokenizer(processing_class, other_tokenizer)
            self.reference.check_fits(causal_model(model), self.objective)
            set_seed(args.seed)
        keep_unpacked(model)
        # below a new adapter: its tensors are not the target's
        self.target_fingerprint = fingerprint(causal_model(model)) if args.process_index == 0 else None
        peft_config = peft_config if args.train_vision else freeze_vision(causal_model(model), peft_config)
        adapter = deepcopy(peft_config)  # as it was given: PEFT spells the layers out
        if peft_config is not None:
            model = with_adapter(model, peft_config, place)
        freeze_layers(model, self.objective)
        check_trainable(model)
        check_head(causal_model(model))
        attach_views(model, args.compile_functions)
        dataset = ForgetDataset(self.pairing, self.objective.views)
        super().__init__(
            model=model,
            args=args,
            train_dataset=dataset,
            data_collator=Collator(dataset, self.encoded),
            processing_class=processing_class,
            callbacks=callbacks,
        )
        self.choose_rules()
        # The loss is already divided by the totals of the whole batch, over micro-batches and processes.
        self.loss_is_scaled_for_ga = True
        self.guard = Guard([part.name for part in self.objective.terms], self.args.device)
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        if not args.disable_tqdm:
            self.add_callback(Progress())
        self.term_weights = TermWeights(self.objective, self.accelerator) if self.objective.adaptive else None
        if self.term_weights:
            self.add_callback(self.term_weights)
        self.control_levels = ControlLevels(self) if needs_level(self.objective) else None
        if self.control_levels:
            self.add_callback(self.control_levels)
        self.add_callback(WholeCheckpoint(args.save_total_limit))
        self._tokens = 0
        given = {"forget": forget_dataset, "retain": retain_dataset, "idk": refusals, "reference": reference}
        given |= {"anchor": anchor, "holdout": holdout}
        given["model"] = place or model.name_or_path
        self.recipe = recipe_in_python(args, self.objective, model, adapter, self.style, given)

    def memory_shape(self) -> Shape:
        """What the largest micro-batch of the run will need (see `expunge.training.memory`)."""
        order, epochs = self._order(), range(self.epochs)
        largest = max(order.largest(epoch, self._lengths(epoch)) for epoch in epochs)
        checkpointing = bool(self.args.activation_checkpointing or self.args.gradient_checkpointing)
        shape = shape_of_model(self.model, [largest], self.args.optimizer, self.args.bf16, checkpointing)
        head = output_head(causal_model(self.model))
        changing = self.reference is not None or any(p.requires_grad for p in head.parameters())
        return replace(shape, frozen_head=self.objective.uses("logits") and changing)

    def _order(self) -> Order:
        args, packed = self.args, packs_rows(causal_model(self.model))
        size = args.per_device_train_batch_size
        strategy = cast(Strategy, args.train_sampling_strategy)  # the settings refuse any other
        return Order(self.pairing, strategy, args.rows_per_step, size, packed, args.dataloader_drop_last)

    def _lengths(self, epoch: int) -> list[list[int]]:
        return self.encoded.lengths(self.objective.views, self.pairing, epoch)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train; `resume_from_checkpoint=True` continues from the last whole checkpoint, or starts if there is none."""
        main = self.is_world_process_zero()
        with only_process(self._folder) if main and self.recorded else nullcontext():
            return self._train(main, resume_from_checkpoint or None, trial, ignore_keys_for_eval)

    def _train(self, main: bool, resume: str | bool | None, *rest: Any) -> TrainOutput:
        checkpoint = checkpoint_to_resume(self._folder, resume)
        self.changes = Changes(self) if self.recorded else None
        if main:
            if self.recorded:
                self._evidence.begin(self, self.recipe, checkpoint)
            remove_checkpoints(self._folder, whole=not checkpoint)
            for cut_off in self._folder.rglob(TEMPORARY) if self.recorded else ():  # by a kill
                cut_off.unlink()
            trim_log(self._folder / TRAIN_LOG, checkpoint)
        if self.term_weights and checkpoint:
            self.term_weights.load(checkpoint)
        if self.control_levels and checkpoint:
            self.control_levels.load(checkpoint)
        if self.reference is None:
            self.reference = self._freeze(causal_model(self.model), self.args, self.target_fingerprint)
        self.before_steps()
        try:
            output = self._ended_at(checkpoint) or super().train(checkpoint, *rest)
            self.after_steps()
            check_finite(self.model, self.state.global_step)
        except NonFiniteLoss as error:
            good = last_whole_checkpoint(self._folder)
            kept = f"The last good checkpoint is {good}." if good else "No checkpoint had been written yet."
            raise NonFiniteLoss(f"{error} {kept} Lower train.learning_rate or the forget weight.") from error
        if self.changes:
            self.changes.finish()
        return output

    def _stops(self, terms: Mapping[str, float], step: int) -> bool:
        vocabulary = causal_model(self.model).config.get_text_config().vocab_size
        return bool(self.args.stop_at_chance) and below_chance(terms, vocabulary, step)

    def _ended_at(self, checkpoint: str | None) -> TrainOutput | None:
        """What training ended with, if no step is asked for, or it stopped here and was killed before it was saved."""
        if self.args.max_steps == 0:  # to transformers, as many as the epochs take
            return TrainOutput(0, 0.0, {})
        if checkpoint is None or self.is_fsdp_enabled:  # shards are read by the wrapped model: it takes one more step
            return None
        state = state_of(checkpoint)
        last = state.log_history[-1] if state.log_history else {}
        if last.get("step") != state.global_step or not self._stops(terms_in(last), state.global_step):
            return None
        self._load_from_checkpoint(checkpoint)
        self.state = state
        return TrainOutput(state.global_step, 0.0, {})

    def _freeze(self, model: PreTrainedModel, args: UnlearningConfig, weights: str | None) -> StoredReference | None:
        """What the objective needs of a model as it is now."""
        return freeze(
            model,
            self.objective,
            self.encoded,
            {view: all_keys(view, self.pairing, self.epochs) for view in self.objective.views},
            self._folder / CACHES,
            args,
            weights,
        )

    def _freeze_other(self, model: PreTrainedModel, args: UnlearningConfig) -> StoredReference | None:
        """The same of another model than the target."""
        if not self.objective.uses_reference:
            raise InputError(f"reference: {self.objective.name} compares with no reference model; leave it out.")
        check_head(model)
        attach_views(model)
        self.other_reference = fingerprint(model) if args.process_index == 0 else None
        return self._freeze(model, args, self.other_reference)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        multiple = self.args.per_device_train_batch_size * self.args.world_size
        sampler = EpochSampler(self._order(), self._lengths, multiple)
        self.add_callback(EpochClock(sampler))
        return sampler

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        """Tokens and rows of each term's views, over the accumulation window and all processes."""
        totals = count(self.objective, [sample["batch"] for sample in batch_samples if sample["counts"]])
        if self.args.world_size > 1:
            mine = torch.tensor([list(pair) for pair in totals.values()], dtype=torch.float64, device=device)
            everyone = cast(Tensor, self.accelerator.reduce(mine, reduction="sum")).tolist()
            totals = {key: tuple(pair) for key, pair in zip(totals, everyone, strict=True)}
        return totals

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """This micro-batch's share of the loss over the whole batch."""
        return self.share_of_loss(model, inputs, self.objective, num_items_in_batch)

    def share_of_loss(self, model: Any, inputs: Any, objective: Objective, totals: Any, record: bool = True) -> Tensor:
        """This micro-batch's share of some of the terms' loss over the whole batch; `record` counts it in the log."""
        batch, share = inputs["batch"], float(inputs["counts"])
        weights = self.term_weights.now if self.term_weights else None
        loss, values = compute(model, objective, batch, totals, self.reference, weights, self.control_levels)
        if record:
            zero = torch.zeros((), device=loss.device)
            values = {part.name: values.get(part.name, zero) * share for part in self.objective.terms}
            self.guard.add(values, self.state.global_step + 1)
            if self.term_weights:
                self.term_weights.add(values)
            self._tokens += int(share) * sum(len(row.ids) for view in objective.views for row in batch[view].rows)
        # DDP and FSDP2 average gradients over processes; ours are to be summed.
        return loss * (share * self.args.world_size)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as transformers does, with each term's value; write the run's train_log.jsonl."""
        if "grad_norm" in logs:
            self.guard.check(self.state.global_step, logs["grad_norm"])
            terms = self.guard.drain(self.accelerator)
            logs = {**logs, **{f"{TERM}{name}": value for name, value in terms.items()}}
            self.control.should_training_stop |= self._stops(terms, self.state.global_step)
            if self.is_world_process_zero():
                weights = self.term_weights.used if self.term_weights else None
                write_step(self._folder, self.state, logs, terms, weights, self._tokens, start_time)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.guard.check(self.state.global_step)  # never replace a good checkpoint by a broken one
        check_finite(self.model, self.state.global_step)
        limit, self.args.save_total_limit = self.args.save_total_limit, None  # older ones go when this one is marked
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()  # the others have written their part of it

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as plain `transformers` (or PEFT) folder: safetensors, no pickled settings beside them.

        After training, what became of the run is written down, and its caches and checkpoints are removed.
        """
        if self.is_fsdp_enabled and not _internal_call:
            plugin: Any = self.accelerator.state.fsdp_plugin
            plugin.set_state_dict_type("FULL_STATE_DICT")  # one model whatever the sharding
        super().save_model(output_dir, _internal_call)
        folder, main = Path(output_dir or self._folder), self.is_world_process_zero()
        if main:
            follow_umask(folder)
        if _internal_call:
            return
        if main:
            (folder / "training_args.bin").unlink(missing_ok=True)
            save_tokenizer(self.processing_class, folder)
            self.style.save(folder)
        if main and self.changes and self.changes.finished:
            self._evidence.end(self)
            # Caches and old weights still hold the forget set: none may outlive the run.
            shutil.rmtree(self._folder / CACHES, ignore_errors=True)
            remove_checkpoints(self._folder)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: transformers' estimate knows nothing of views."""
        return 0
