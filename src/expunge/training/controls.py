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
from expunge.objectives.reset import unseen_levels
from expunge.training.batching import Key
from expunge.training.batching.pairing import RetainLed
from expunge.training.bigrams import Bigrams

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

BATCH_TOKENS = 4096
# The quantile of the holdout rows' tokens from which on, where rows are held from both sides, tokens count alike.
CAPPED_FROM = 0.75
LEVELS_FILE = "levels.json"


class ControlLevels(TrainerCallback):
    """Sets RESET's levels, where none is given, to those of the holdout rows as the model stands when an epoch begins.

    The forget set comes to be as likely as rows that were never seen, and which of its rows are the easier ones by
    nature stays (see `unseen_levels`; a row's hardness is its negative log-likelihood under the bigrams of the retain
    set). Where rows are held from both sides, tokens less likely than three quarters of the holdout rows' count as
    those: they need no pushing. While the retain set is learned again all this changes by nats, so it is taken anew;
    most of all in the first pass after a reset, which therefore has no forget rows.

    Attributes:
        now: Levels of the forget rows, by key.
        cap: What a token counts for at most, in nats; None: what it is.
        means: Of the levels of each epoch so far that has forget rows; saved with each checkpoint.
    """

    def __init__(self, trainer: "UnlearningTrainer") -> None:
        self._trainer = trainer
        self._rows: tuple[list[Encoded], list[Encoded]] = [], []  # to be forgotten, and never seen
        self._hardness: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)
        self.now: dict[Key, float] = {}
        self.cap: float | None = None
        self.means: list[float] = []

    def load(self, checkpoint: str | Path) -> None:
        """Continue with the levels of a checkpoint."""
        saved = json.loads((Path(checkpoint) / LEVELS_FILE).read_text(encoding="utf-8"))
        self.means, self.cap = saved["means"], saved["cap"]
        self.now = {(i,): level for i, level in enumerate(saved["now"])}

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        first = self._trainer.pairing.first if isinstance(self._trainer.pairing, RetainLed) else 0
        turn = int(state.epoch or 0) - first
        if turn < 0 or len(self.means) > turn:  # no forget rows yet, or a run is resumed within the epoch
            return
        if not self._rows[0]:
            self._prepare()
        tokens = [self._token_nll(rows) for rows in self._rows]
        # rounded: processes that add in another order must agree
        if held_from_both_sides(self._trainer.objective):
            self.cap = round(float(torch.cat(tokens[1]).quantile(CAPPED_FROM)), 3)
            tokens = [[row.clamp(max=self.cap) for row in rows] for rows in tokens]
        forget, holdout = (torch.stack([row.mean() for row in rows]) for rows in tokens)
        levels = [round(level, 3) for level in unseen_levels(forget, holdout, *self._hardness).tolist()]
        self.now = {(i,): level for i, level in enumerate(levels)}
        self.means.append(round(sum(levels) / len(levels), 3))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            write_json(folder / LEVELS_FILE, {"means": self.means, "cap": self.cap, "now": list(self.now.values())})

    def _prepare(self) -> None:
        encoded, pairing = self._trainer.encoded, self._trainer.pairing
        asked = [(row, None) for row in self._trainer.holdout]
        unseen = encode_all(encoded.tokenizer, asked, encoded.max_length, encoded.style)
        self._rows = [encoded.encode("forget", (i,)) for i in range(pairing.forget)], unseen
        kept = Bigrams([encoded.encode("retain", (i,)) for i in range(pairing.retain)], len(encoded.tokenizer))
        forget, holdout = ([kept.mean_nll(row) for row in rows] for rows in self._rows)
        self._hardness = torch.tensor(forget), torch.tensor(holdout)

    @torch.no_grad()
    def _token_nll(self, rows: Sequence[Encoded]) -> list[Tensor]:
        """Negative log-likelihood of each token of each row's completion, in nats."""
        trainer = self._trainer
        model: Any = trainer.model_wrapped if trainer.is_fsdp_enabled else causal_model(trainer.model)
        found = [torch.empty(0)] * len(rows)
        model.eval()
        for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
            request = Request([rows[i] for i in members], [log_probability])
            asked = run_views if trainer.is_fsdp_enabled else token_values  # sharded weights are gathered in a forward
            pieces = asked(model, [request])[0][0].split([rows[i].completion_tokens for i in members])
            for i, piece in zip(members, pieces, strict=True):
                found[i] = -piece.cpu()
        model.train()
        return found


def needs_level(objective: Objective) -> bool:
    """Whether RESET's levels are to be taken from holdout rows."""
    return any(isinstance(part.term, RESET) and part.term.level is None for part in objective.terms)


def held_from_both_sides(objective: Objective) -> bool:
    """Whether RESET holds rows at their levels from both sides."""
    return any(isinstance(part.term, RESET) and part.term.held == "both" for part in objective.terms)


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
