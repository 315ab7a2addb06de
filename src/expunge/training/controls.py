"""How unlikely rows are that a model never saw: the level at which forgotten rows should end."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from expunge.data import Encoded, encode_all
from expunge.errors import InputError
from expunge.models import Request, causal_model, token_values
from expunge.models.batching import by_length
from expunge.objectives import RESET, Objective, log_probability

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

BATCH_TOKENS = 4096


def with_level(trainer: "UnlearningTrainer") -> tuple[Objective, dict[str, Any]]:
    """The objective with RESET's level, where none is given, taken from the holdout rows; and what was chosen.

    The level is the mean over those rows of their negative log-likelihood in nats a token, as the model stands.
    """
    objective, chosen = trainer.objective, {}
    parts = []
    for part in objective.terms:
        if isinstance(part.term, RESET) and part.term.level is None:
            style = trainer.encoded.style
            asked = [(row, None) for row in trainer.holdout]
            rows = encode_all(trainer.encoded.tokenizer, asked, trainer.encoded.max_length, style)
            # Three digits: what is written down is what a resumed run finds.
            level = round(fmean(mean_nll(causal_model(trainer.model), rows)), 3)
            chosen = {"RESET.level": level, "holdout_rows": len(rows)}
            part = replace(part, term=replace(part.term, level=level))
        parts.append(part)
    return replace(objective, terms=tuple(parts)), chosen


def check_controls(objective: Objective, holdout: Sequence[Any]) -> None:
    """Refuse RESET without a level and without rows to take it from, and holdout rows that nobody looks at.

    Raises:
        InputError: With the fix.
    """
    missing = any(isinstance(part.term, RESET) and part.term.level is None for part in objective.terms)
    if missing and not holdout:
        raise InputError(
            f"{objective.name} needs to know how unlikely rows are that the model never saw: give some with --holdout, "
            "or their negative log-likelihood in nats a token as objective.level."
        )
    if holdout and not any(isinstance(part.term, RESET) for part in objective.terms):
        raise InputError(f"holdout: {objective.name} makes no use of holdout rows; leave them out.")


@torch.no_grad()
def mean_nll(model: PreTrainedModel, rows: Sequence[Encoded]) -> list[float]:
    """Negative log-likelihood of each row's completion, in nats a token."""
    found = [0.0] * len(rows)
    training = model.training
    model.eval()
    for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
        request = Request([rows[i] for i in members], [log_probability])
        values = token_values(model, [request])[0][0]
        pieces = values.split([rows[i].completion_tokens for i in members])
        for i, piece in zip(members, pieces, strict=True):
            found[i] = -float(piece.mean())
    model.train(training)
    return found
