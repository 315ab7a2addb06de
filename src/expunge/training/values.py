"""The value of an objective on given rows, as one batch, without training."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from expunge.data.pairing import Key
from expunge.data.rows import Row
from expunge.data.views import Cut, ViewRows
from expunge.errors import InputError
from expunge.models import attach_views, check_head, load_model
from expunge.objectives import Objective
from expunge.training.alternates import prepare_alternates
from expunge.training.reference import Reference
from expunge.training.views import compute, count

ROWS_AT_ONCE = 16


@torch.no_grad()
def objective_value(
    model: str | Path,
    reference: str | Path | None,
    objective: Objective,
    forget: Sequence[Row],
    retain: Sequence[Row],
    refusals: Sequence[str],
    seed: int = 42,
) -> dict[str, Any]:
    """Evaluate an objective on all rows as one batch: row i with refusal i mod n; MISMATCH takes the completion of
    retain row i mod n.

    The two models are never in memory together. AltPO's alternatives are sampled from the reference model with `seed`.

    Returns:
        `{"terms": [{"name", "set", "weight", "value"}], "total"}`.

    Raises:
        InputError: A set or the reference that the objective needs is missing.
    """
    keys = {view: _keys(view, len(forget), len(retain), len(refusals)) for view in objective.views}
    empty = [view for view, members in keys.items() if not members]
    if empty:
        raise InputError(f"Objective {objective.name} looks at {', '.join(empty)}, for which there are no rows.")
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
        values, alternates = None, []
        if objective.uses_reference:
            if reference is None:
                raise InputError(f"Objective {objective.name} needs a reference model: give --reference.")
            frozen, tokenizer = load_model(reference)
            if "forget_alternate" in objective.views:
                alternates = prepare_alternates(Path(folder), frozen, tokenizer, forget, seed, quiet=True)
            rows = ViewRows(tokenizer, forget, retain, refusals, alternates)
            values = Reference.prepare(Path(folder), frozen, objective, rows, dict(keys), quiet=True)
            del frozen
        loaded, tokenizer = load_model(model)
        return _evaluate(loaded, objective, ViewRows(tokenizer, forget, retain, refusals, alternates), keys, values)


def _evaluate(
    model: PreTrainedModel,
    objective: Objective,
    rows: ViewRows,
    keys: dict[str, list[Key]],
    reference: Reference | None,
) -> dict[str, Any]:
    check_head(model)
    attach_views(model)
    total, sums = 0.0, dict.fromkeys((part.name for part in objective.terms), 0.0)
    whole_batch = count(objective, [rows.cut(keys)])
    for at in range(0, max(map(len, keys.values())), ROWS_AT_ONCE):
        cut: dict[str, Cut] = rows.cut({view: members[at : at + ROWS_AT_ONCE] for view, members in keys.items()})
        loss, values = compute(model, objective, cut, whole_batch, reference)
        total += float(loss)
        sums = {name: value + float(values[name]) for name, value in sums.items()}
    terms = [{"name": p.name, "set": p.set, "weight": p.weight, "value": sums[p.name]} for p in objective.terms]
    return {"terms": terms, "total": total}


def _keys(view: str, forget: int, retain: int, refusals: int) -> list[Key]:
    match view:
        case "forget_idk":
            return [(i, i % refusals) for i in range(forget)]
        case "forget_mismatch":
            return [(i, i % retain) for i in range(forget)] if retain else []
        case "retain_idk":
            return [(i, i % refusals) for i in range(retain)]
        case "retain":
            return [(i,) for i in range(retain)]
    return [(i,) for i in range(forget)]
