"""How unlikely rows are that a model never saw: the level to which forgotten rows should come."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from expunge.data import Encoded, encode_all
from expunge.errors import InputError
from expunge.files import write_json
from expunge.models import Request, causal_model, run_views, token_values
from expunge.models.batching import by_length
from expunge.objectives import RESET, Objective, log_probability

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

BATCH_TOKENS = 4096
LEVELS_FILE = "levels.json"
LOWEST = 0.1  # share of the holdout rows below the level


class ControlLevel(TrainerCallback):
    """Sets RESET's level, where none is given, to that of the holdout rows as the model stands when an epoch begins.

    A tenth of those rows have a lower negative log-likelihood, in nats a token: rows that were never seen differ, and a
    level at their mean would push up the half of the forget rows that is easier by nature. While the retain set is
    learned again the level changes by nats, so it is taken anew.

    Attributes:
        levels: Of each epoch so far; saved with each checkpoint.
    """

    def __init__(self, trainer: "UnlearningTrainer") -> None:
        self._trainer = trainer
        self._rows: list[Encoded] = []
        self.levels: list[float] = []

    def load(self, checkpoint: str | Path) -> None:
        """Continue with the levels of a checkpoint."""
        self.levels = json.loads((Path(checkpoint) / LEVELS_FILE).read_text(encoding="utf-8"))

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self._trainer
        epoch = int(state.epoch or 0)
        if len(self.levels) <= epoch:  # else a run is resumed within the epoch
            encoded = trainer.encoded
            asked = [(row, None) for row in trainer.holdout]
            self._rows = self._rows or encode_all(encoded.tokenizer, asked, encoded.max_length, encoded.style)
            lowest = torch.quantile(torch.tensor(self._mean_nll()), LOWEST)
            self.levels.append(round(float(lowest), 3))  # processes that add in another order must agree
        terms = [
            replace(part, term=replace(part.term, level=self.levels[epoch])) if isinstance(part.term, RESET) else part
            for part in trainer.objective.terms
        ]
        trainer.objective = replace(trainer.objective, terms=tuple(terms))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            write_json(folder / LEVELS_FILE, self.levels)

    @torch.no_grad()
    def _mean_nll(self) -> list[float]:
        """Negative log-likelihood of each holdout row's completion, in nats a token."""
        trainer, rows = self._trainer, self._rows
        model: Any = trainer.model_wrapped if trainer.is_fsdp_enabled else causal_model(trainer.model)
        found = [0.0] * len(rows)
        model.eval()
        for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
            request = Request([rows[i] for i in members], [log_probability])
            asked = run_views if trainer.is_fsdp_enabled else token_values  # sharded weights are gathered in a forward
            pieces = asked(model, [request])[0][0].split([rows[i].completion_tokens for i in members])
            for i, piece in zip(members, pieces, strict=True):
                found[i] = -float(piece.mean())
        model.train()
        return found


def needs_level(objective: Objective) -> bool:
    """Whether RESET's level is to be taken from holdout rows."""
    return any(isinstance(part.term, RESET) and part.term.level is None for part in objective.terms)


def check_controls(objective: Objective, holdout: Sequence[Any]) -> None:
    """Refuse RESET without a level and without rows to take it from, and holdout rows that nobody looks at.

    Raises:
        InputError: With the fix.
    """
    if needs_level(objective) and not holdout:
        raise InputError(
            f"{objective.name} needs to know how unlikely rows are that the model never saw: give some with --holdout, "
            "or their negative log-likelihood in nats a token as objective.level."
        )
    if holdout and not any(isinstance(part.term, RESET) for part in objective.terms):
        raise InputError(f"holdout: {objective.name} makes no use of holdout rows; leave them out.")
