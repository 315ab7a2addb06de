"""From the rows of a micro-batch to the loss: one forward, then what each term makes of its views."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from expunge.data.chat import Encoded
from expunge.models.attach import run_views
from expunge.models.forward import Request
from expunge.objectives import Needs, Objective, View, Views, Weighted
from expunge.training.batching import Key, MicroBatch, ViewBatch

Totals = Mapping[tuple[str, str], tuple[float, float]]  # (term, view) -> tokens and rows of the whole batch


class ReferenceValues(Protocol):
    """What the frozen target model says of rows, by view and key."""

    def nll(self, view: str, keys: Sequence[Key]) -> Tensor: ...

    def hidden(self, view: str, keys: Sequence[Key], layer: int | None) -> Tensor: ...

    def head(self, hidden: Tensor) -> Tensor: ...


class Levels(Protocol):
    """How unlikely forget rows are to become, by key, and what a token counts for at most."""

    @property
    def now(self) -> Mapping[Key, float]: ...
    @property
    def cap(self) -> float | None: ...


def looked_at(needs: Needs, row: Encoded) -> int:
    """How many of a row's predicted tokens a term looks at: the last ones."""
    return len(row.predicted(whole=True)) if needs.tokens == "all" else max(0, row.completion_tokens - needs.skip)


def count(objective: Objective, batches: Sequence[MicroBatch]) -> dict[tuple[str, str], tuple[float, float]]:
    """Tokens and rows of each term's views over several micro-batches."""
    totals = {}
    for part in objective.terms:
        for view in part.term.needs.views:
            rows = [row for batch in batches if view in batch for row in batch[view].rows]
            totals[part.name, view] = (float(sum(looked_at(part.term.needs, r) for r in rows)), float(len(rows)))
    return totals


Source = tuple[str, int | None]  # a view, and the decoder layer looked at: None for the logits


def sources(objective: Objective) -> list[Source]:
    """What has to be run through the model."""
    needs = [part.term.needs for part in objective.terms]
    return list(dict.fromkeys((view, need.layer) for need in needs for view in need.views))


def readers(objective: Objective, source: Source) -> list[Weighted]:
    """The terms that look at a source."""
    view, layer = source
    return [p for p in objective.terms if view in p.term.needs.views and p.term.needs.layer == layer]


def whole(objective: Objective, source: Source) -> bool:
    """Whether any term looks at more of the rows than their completions."""
    return any(part.term.needs.tokens == "all" for part in readers(objective, source))


def compute(
    model: Any,
    objective: Objective,
    batch: MicroBatch,
    totals: Totals,
    reference: ReferenceValues | None,
    weights: Mapping[str, float] | None = None,
    levels: Levels | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a micro-batch through the model once and evaluate the objective on it.

    Args:
        model: Any wrapping of a model that went through `attach_views`.
        objective: What to compute.
        batch: The micro-batch's rows by view; of some views there may be none.
        totals: Tokens and rows of the whole batch that this micro-batch is a part of.
        reference: Values of the frozen target model, where the objective needs them.
        weights: Each term's weight now, where the objective changes them in training.
        levels: Of forget rows, where they are taken from control rows.

    Returns:
        This part's share of the total loss, and of each term's value.
    """
    requests, functions = {}, {}
    for source in sources(objective):
        view, layer = source
        parts = readers(objective, source)
        functions[source] = list(dict.fromkeys(part.term.token_function for part in parts))
        hidden = head = None
        if batch[view].rows and any(part.term.needs.reference in ("logits", "hidden") for part in parts):
            frozen = _given(reference)
            hidden, head = frozen.hidden(view, batch[view].keys, layer), frozen.head
        requests[source] = Request(batch[view].rows, functions[source], whole(objective, source), hidden, head, layer)
    asked = [source for source, request in requests.items() if request.rows]
    outputs = dict(zip(asked, run_views(model, [requests[source] for source in asked]), strict=True))
    nothing = outputs[asked[0]][0].new_zeros(0)
    views = {}
    for part in objective.terms:
        term, named = part.term, {}
        for view in term.needs.views:
            source = view, term.needs.layer
            which = functions[source].index(term.token_function)
            values = outputs[source][which] if source in outputs else nothing
            named[view] = _view(term.needs, batch[view], requests[source], values, totals[part.name, view])
            if term.needs.reference == "nll":
                nll = _given(reference).nll(view, batch[view].keys).to(values.device, non_blocking=True)
                named[view] = replace(named[view], reference=nll)
            if levels is not None and view == "forget":
                level = torch.tensor([levels.now[key] for key in batch[view].keys])
                level = level.to(values.device, non_blocking=True)
                named[view] = replace(named[view], level=level, cap=levels.cap)
        views[part.name] = Views(named)
    return objective.loss(views, weights)


def _given(reference: ReferenceValues | None) -> ReferenceValues:
    if reference is None:
        raise LookupError("the objective looks at values of a reference model, and none are given")
    return reference


def _view(needs: Needs, batch: ViewBatch, request: Request, values: Tensor, total: tuple[float, float]) -> View:
    """Select the tokens a term looks at from those the request computed."""
    chosen: list[int] = []
    row_of: list[int] = []
    lengths: list[int] = []
    offset = 0
    for i, row in enumerate(batch.rows):
        mine = looked_at(needs, row)
        offset += len(row.predicted(request.whole))
        chosen.extend(range(offset - mine, offset))
        row_of.extend([i] * mine)
        lengths.append(mine)
    if len(chosen) != offset:
        values = values[torch.tensor(chosen, device=values.device)]
    index = torch.tensor(row_of, dtype=torch.long).to(values.device, non_blocking=True)
    sizes = torch.tensor(lengths, dtype=torch.long).to(values.device, non_blocking=True)
    return View(values, index, sizes, *total)
