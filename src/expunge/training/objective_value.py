"""The value of an objective on given rows, as one batch, without training."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from expunge.data import PromptStyle, Row
from expunge.errors import InputError
from expunge.models import attach_views, check_head, load_model
from expunge.objectives import Objective
from expunge.training.batching import (
    VIEWS,
    EncodedViews,
    Key,
    Pairing,
    Sources,
    prepare_alternates,
    prepared_rows,
    takes,
)
from expunge.training.frozen import StoredReference
from expunge.training.loss import compute, count

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
    text_prompt: int | None = None,
    style: PromptStyle = PromptStyle(),
) -> dict[str, Any]:
    """Evaluate an objective on all rows as one batch: row i with refusal i mod n; MISMATCH takes the completion of
    retain row i mod n.

    The two models are never in memory together. AltPO's alternatives are sampled from the reference model with `seed`.
    Of a plain passage, the first `text_prompt` characters are its prompt; `style` says how conversations are written.

    Returns:
        `{"terms": [{"name", "set", "weight", "value"}], "total"}`.

    Raises:
        InputError: A set or the reference that the objective needs is missing, or plain text without a prompt is to be
            answered.
    """
    forget, retain = (
        prepared_rows([[row] for row in rows], name, objective, text_prompt) if rows else []
        for name, rows in (("forget", forget), ("retain", retain))
    )
    pairing = Pairing(seed, len(forget), len(retain), len(refusals), 1)
    keys = {view: VIEWS[view].each_once(pairing) for view in objective.views}
    empty = [view for view, members in keys.items() if not members]
    if empty:
        raise InputError(f"Objective {objective.name} looks at {', '.join(empty)}, for which there are no rows.")
    sources = Sources(forget, retain, refusals)
    with tempfile.TemporaryDirectory(prefix="expunge-") as folder:
        stored = None
        if objective.uses_reference:
            if reference is None:
                raise InputError(f"Objective {objective.name} needs a reference model: give --reference.")
            frozen, tokenizer = load_model(reference)
            if takes(objective.views, "alternates"):
                sources.alternates = prepare_alternates(
                    Path(folder), frozen, tokenizer, forget, seed, quiet=True, style=style
                )
            views = EncodedViews(tokenizer, sources, style=style)
            stored = StoredReference.prepare(Path(folder), frozen, objective, views, dict(keys), quiet=True)
            del frozen
        loaded, tokenizer = load_model(model)
        check_head(loaded)
        attach_views(loaded)
        views = EncodedViews(tokenizer, sources, style=style)
        sums, total = value_of_batch(loaded, objective, views, keys, stored, ROWS_AT_ONCE)
    terms = [{"name": p.name, "set": p.set, "weight": p.weight, "value": sums[p.name]} for p in objective.terms]
    return {"terms": terms, "total": total}


@torch.no_grad()
def value_of_batch(
    model: PreTrainedModel,
    objective: Objective,
    views: EncodedViews,
    keys: dict[str, list[Key]],
    reference: StoredReference | None,
    rows_at_once: int,
) -> tuple[dict[str, float], float]:
    """Each term's value and the total over all keys as one batch, so many rows of each view at a time."""
    total, sums = 0.0, dict.fromkeys((part.name for part in objective.terms), 0.0)
    whole_batch = count(objective, [views.batch(keys)])
    for at in range(0, max(map(len, keys.values())), rows_at_once):
        batch = views.batch({view: members[at : at + rows_at_once] for view, members in keys.items()})
        loss, values = compute(model, objective, batch, whole_batch, reference)
        total += float(loss)
        sums = {name: value + float(values[name]) for name, value in sums.items()}
    return sums, total
