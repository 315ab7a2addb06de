"""How unlikely rows are that a model never saw: the levels to which forgotten rows should come."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from expunge.data import Encoded, encode_all
from expunge.errors import InputError
from expunge.files import write_json
from expunge.models import Request, causal_model, run_views, token_values
from expunge.models.batching import by_length
from expunge.objectives import RESET, Objective, log_probability
from expunge.objectives.reset import of_same_rank
from expunge.training.batching import Key

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

BATCH_TOKENS = 4096
LEVELS_FILE = "levels.json"


class ControlLevels(TrainerCallback):
    """Sets RESET's levels, where none is given, to those of the holdout rows as the model stands when an epoch begins.

    Each forget row's level is the negative log-likelihood, in nats a token, of the holdout row of the same rank: the
    forget set as a whole comes to be as likely as rows that were never seen, and which of its rows are the easier ones
    by nature stays. While the retain set is learned again the levels change by nats, so they are taken anew.

    Attributes:
        now: Levels of the forget rows, by key.
        means: Of the levels of each epoch so far; saved with each checkpoint.
    """

    def __init__(self, trainer: "UnlearningTrainer") -> None:
        self._trainer = trainer
        self._holdout: list[Encoded] = []
        self.now: dict[Key, float] = {}
        self.means: list[float] = []

    def load(self, checkpoint: str | Path) -> None:
        """Continue with the levels of a checkpoint."""
        saved = json.loads((Path(checkpoint) / LEVELS_FILE).read_text(encoding="utf-8"))
        self.means, self.now = saved["means"], {(i,): level for i, level in enumerate(saved["now"])}

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, epoch = self._trainer, int(state.epoch or 0)
        if len(self.means) > epoch:  # a run is resumed within the epoch
            return
        encoded, forget = trainer.encoded, [(i,) for i in range(trainer.pairing.forget)]
        asked = [(row, None) for row in trainer.holdout]
        self._holdout = self._holdout or encode_all(encoded.tokenizer, asked, encoded.max_length, encoded.style)
        mine = self._mean_nll([encoded.encode("forget", key) for key in forget])
        # rounded: processes that add in another order must agree
        levels = [round(level, 3) for level in of_same_rank(mine, self._mean_nll(self._holdout)).tolist()]
        self.now = dict(zip(forget, levels, strict=True))
        self.means.append(round(sum(levels) / len(levels), 3))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            write_json(folder / LEVELS_FILE, {"means": self.means, "now": list(self.now.values())})

    @torch.no_grad()
    def _mean_nll(self, rows: Sequence[Encoded]) -> Tensor:
        """Negative log-likelihood of each row's completion, in nats a token [rows]."""
        trainer = self._trainer
        model: Any = trainer.model_wrapped if trainer.is_fsdp_enabled else causal_model(trainer.model)
        found = torch.zeros(len(rows))
        model.eval()
        for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
            request = Request([rows[i] for i in members], [log_probability])
            asked = run_views if trainer.is_fsdp_enabled else token_values  # sharded weights are gathered in a forward
            pieces = asked(model, [request])[0][0].split([rows[i].completion_tokens for i in members])
            for i, piece in zip(members, pieces, strict=True):
                found[i] = -piece.mean()
        model.train()
        return found


def needs_level(objective: Objective) -> bool:
    """Whether RESET's levels are to be taken from holdout rows."""
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
