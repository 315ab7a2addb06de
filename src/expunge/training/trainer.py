"""UnlearningTrainer: any objective on any causal language model, its numbers independent of how batches are cut."""

import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.trainer_utils import TrainOutput

from expunge.data.rows import Row
from expunge.errors import InputError
from expunge.models import (
    attach_views,
    causal_model,
    check_head,
    keep_unpacked,
    load_model,
    packs_rows,
)
from expunge.objectives import Objective, Term, build_objective
from expunge.runs import CACHES, TRAIN_LOG
from expunge.training.batching import (
    VIEWS,
    Collator,
    EpochSampler,
    ForgetDataset,
    Order,
    all_keys,
    plan_rows,
    prepare_alternates,
    takes,
)
from expunge.training.callbacks import EpochClock, Progress, WholeCheckpoint
from expunge.training.checkpoints import last_whole_checkpoint, trim_log
from expunge.training.config import UnlearningConfig
from expunge.training.frozen import StoredReference
from expunge.training.guard import Guard
from expunge.training.loss import compute, count
from expunge.training.memory import Shape, shape_of_model
from expunge.training.steps.stepper import Stepper
from expunge.training.term_weights import TermWeights
from expunge.training.trainable import check_trainable, freeze_layers, with_adapter


class UnlearningTrainer(Stepper):
    """Unlearns the forget set and keeps the retain set.

    Args:
        model: The target model, or where to load it from (folder, adapter folder, Hub name).
        args: Settings; `args.objective` names the objective.
        forget_dataset: Rows to forget, or a SPEC to read them from.
        retain_dataset: Rows to keep, or a SPEC; needed by objectives with a view of the retain set.
        processing_class: The tokenizer; read from the model's place where `model` is a path.
        peft_config: Train an adapter, e.g. `LoraConfig(r=8)`, instead of all weights.
        refusals: Refusal templates; default: the hundred that come with expunge.
        objective: A custom objective or term, in place of `args.objective`.
        callbacks: As in `transformers.Trainer`.

    Raises:
        InputError: Sets that are empty or overlap, a prompt that fills the context, an unknown objective.
        NonFiniteLoss: From `train`, when the loss stops being finite; the last good checkpoint is kept.
    """

    def __init__(
        self,
        model: PreTrainedModel | str | Path,
        args: UnlearningConfig,
        forget_dataset: Sequence[Row] | str | Path,
        retain_dataset: Sequence[Row] | str | Path | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        peft_config: PeftConfig | None = None,
        refusals: Sequence[str] | None = None,
        objective: Objective | Term | str | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        set_seed(args.seed)
        place = str(model) if isinstance(model, (str, Path)) else None
        if place is not None:
            model, tokenizer = load_model(place)
            processing_class = processing_class or tokenizer
        if processing_class is None:
            raise InputError("A model that is already loaded needs its tokenizer: pass processing_class=tokenizer.")
        self.objective = build_objective(objective or args.objective, args.objective_options)
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        length = min((n for n in (args.max_length, context) if n), default=None)
        self.encoded, self.pairing = plan_rows(
            self.objective, forget_dataset, retain_dataset, refusals, processing_class, length, args
        )
        keep_unpacked(model)
        if peft_config is not None:
            model = with_adapter(model, peft_config, place)
        freeze_layers(model, self.objective)
        check_trainable(model)
        check_head(causal_model(model))
        attach_views(model, args.compile_functions)
        self.epochs = args.epochs(self.pairing.forget)
        self.reference: StoredReference | None = None
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
        self.add_callback(WholeCheckpoint())
        self._tokens = 0

    def memory_shape(self) -> Shape:
        """What the largest micro-batch of the run will need (see `expunge.training.memory`)."""
        order, epochs = self._order(), range(self.epochs)
        largest = max(order.largest(epoch, self._lengths(epoch)) for epoch in epochs)
        checkpointing = bool(self.args.activation_checkpointing or self.args.gradient_checkpointing)
        shape = shape_of_model(self.model, [largest], self.args.optim.value, self.args.bf16, checkpointing)
        head = causal_model(self.model).get_output_embeddings()
        copied = self.objective.uses("logits") and any(p.requires_grad for p in head.parameters())
        return replace(shape, frozen_head=copied)

    def _order(self) -> Order:
        args, packed = self.args, packs_rows(causal_model(self.model))
        size = args.per_device_train_batch_size
        return Order(
            self.pairing, args.train_sampling_strategy, args.rows_per_step, size, packed, args.dataloader_drop_last
        )

    def _lengths(self, epoch: int) -> list[list[int]]:
        """For each forget row, the tokens of each row that goes through the model with it in an epoch."""
        # Alternatives are sampled when training starts; they are about as long as the answers.
        sampled = bool(self.encoded.sources.alternates)
        views = {v: VIEWS[v].set if takes([v], "alternates") and not sampled else v for v in self.objective.views}
        return [
            [
                len(self.encoded.encode(views[v], key).ids)
                for v in views
                for key in VIEWS[v].keys(self.pairing, epoch, index)
            ]
            for index in range(self.pairing.forget)
        ]

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """Train; `resume_from_checkpoint=True` continues from the last whole checkpoint, or starts if there is none."""
        folder = Path(self.args.output_dir)
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_whole_checkpoint(folder)
        if self.is_world_process_zero():
            trim_log(folder / TRAIN_LOG, resume_from_checkpoint)
        if self.term_weights and resume_from_checkpoint:
            self.term_weights.load(resume_from_checkpoint)
        if takes(self.objective.views, "alternates"):
            self.encoded.sources.alternates = prepare_alternates(
                folder / CACHES,
                causal_model(self.model),
                self.processing_class,
                self.encoded.sources.forget,
                self.args.seed,
                quiet=bool(self.args.disable_tqdm),
            )
        if self.objective.uses_reference:
            with self.args.main_process_first(local=False, desc="reference values"):
                self.reference = StoredReference.prepare(
                    folder / CACHES,
                    causal_model(self.model),
                    self.objective,
                    self.encoded,
                    {v: all_keys(v, self.pairing, self.epochs) for v in self.objective.views},
                    main=self.is_world_process_zero(),
                    quiet=bool(self.args.disable_tqdm),
                )
        self.before_steps()
        output = super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)
        self.after_steps()
        return output

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
            everyone = self.accelerator.reduce(mine, reduction="sum").tolist()
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
        loss, values = compute(model, objective, batch, totals, self.reference, weights)
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
            logs = {**logs, **{f"term/{name}": value for name, value in terms.items()}}
            self.control.should_training_stop |= self._below_chance(terms)
            if self.is_world_process_zero():
                self._write_log(logs, terms, start_time)
        super().log(logs, start_time)

    def _below_chance(self, terms: dict[str, float]) -> bool:
        chance = torch.tensor(float(self.model.config.get_text_config().vocab_size)).log().item()
        if not self.args.stop_at_chance or -terms.get("GA", 0.0) <= chance:
            return False
        warnings.warn(
            f"Stopped at step {self.state.global_step}: gradient ascent made the forget set less likely than chance "
            f"({-terms['GA']:.1f} > {chance:.1f} nats a token). Set train.stop_at_chance=false to go on.",
            stacklevel=2,
        )
        return True

    def _write_log(self, logs: dict[str, float], terms: dict[str, float], start_time: float | None) -> None:
        entry = {
            "step": self.state.global_step,
            "epoch": self.state.epoch,
            "loss": logs["loss"],
            "terms": terms,
            **({"weights": self.term_weights.used} if self.term_weights else {}),
            "grad_norm": logs["grad_norm"],
            "learning_rate": logs["learning_rate"],
            "seconds": round(time.time() - start_time, 3) if start_time else None,
            "tokens": self._tokens,
        }
        with (Path(self.args.output_dir) / TRAIN_LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.guard.check(self.state.global_step)  # never replace a good checkpoint by a broken one
        super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as plain `transformers` (or PEFT) folder: safetensors, no pickled settings beside them."""
        if self.is_fsdp_enabled and not _internal_call:
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")  # one model whatever the sharding
        super().save_model(output_dir, _internal_call)
        if not _internal_call:
            (Path(output_dir or self.args.output_dir) / "training_args.bin").unlink(missing_ok=True)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not estimated: transformers' estimate knows nothing of views."""
        return 0
