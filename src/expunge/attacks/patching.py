"""Activation patching: how deep the forgetting goes (Unlearning Depth Score, arXiv 2605.24614).

A layer's state of another model is put into the target model where it predicts the fact (or, on rows that name none,
the answer). Where the retain model's state makes the target forget, that layer held the knowledge; the score is the
share of that loss which the unlearned model's state causes too: 0, as in the target; 1, as in the retain model.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.ask import rows_of
from expunge.attacks.base import AttackData, Findings, NotMeasured, Role, Subject
from expunge.attacks.layers import layer_count, run_layers
from expunge.data import Encoded, PromptStyle, Row, encode_all
from expunge.models import context_length, fingerprint_tokenizer, last_norm, output_head
from expunge.models.head import live_head

SETTING = "activation_patching"
METRIC = "unlearning_depth"
LEAST_LOSS = 0.05
"""In nats a token: a layer whose patching costs less holds nothing of the row."""

States = dict[tuple[int, int], Tensor]
"""By row and layer: the states that predict the fact's tokens [tokens, width], on the CPU."""


def run(subject: Subject, layers: Sequence[int]) -> Findings:
    """Score the subject; each of the three models is in memory alone."""
    missing = [role for role in ("target", "retain") if role not in subject.models]
    if missing:
        reason = f"it needs the target and the retain model; there is no {' and no '.join(missing)} model"
        return Findings(not_measured=[NotMeasured("probe", SETTING, subject.role, reason)])
    rows = [row for row in subject.data.forget if row.turns]
    states: dict[str, States] = {}
    shapes = set()
    for role in (subject.role, "retain"):
        with_model = _other(subject, role)
        model, tokenizer = with_model.load()
        spans = fact_spans(tokenizer, rows, subject.style, context_length(model.config))
        shapes.add((layer_count(model), output_head(model).weight.shape[1], fingerprint_tokenizer(tokenizer)))
        states[role] = read_states(model, spans, layers)
        del model
        with_model.release()
    target = _other(subject, "target")
    model, tokenizer = target.load()
    shapes.add((layer_count(model), output_head(model).weight.shape[1], fingerprint_tokenizer(tokenizer)))
    if len(shapes) > 1:
        reason = "the models differ in layers, width or tokenizer"
        return Findings(not_measured=[NotMeasured("probe", SETTING, subject.role, reason)])
    spans = fact_spans(tokenizer, rows, subject.style, context_length(model.config))
    losses = {role: losses_by_patching(model, spans, layers, states[role]) for role in states}
    target.release()
    values = {METRIC: depth(losses["retain"], losses[subject.role])}
    found = Findings(rows_of("probe", SETTING, subject.role, values))
    if not found.rows:
        reason = "the retain model's states cost the target nothing: no layer holds what only the target knows"
        found.not_measured.append(NotMeasured("probe", SETTING, subject.role, reason))
    return found


def _other(subject: Subject, role: Role) -> Subject:
    subject.release()
    return Subject(role, subject.models[role], AttackData(()), subject.tokenizer, subject.style, device=subject.device)


def fact_spans(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], style: PromptStyle, length: int | None
) -> list[Encoded]:
    """Each row up to the last token of its fact, which is what counts as its completion; else the whole answer."""
    asked = []
    for row in rows:
        fact = row.columns.get("fact")
        at = row.completion.find(fact) if isinstance(fact, str) and fact.strip() else -1
        cut = (row.completion[:at], row.completion[: at + len(str(fact))]) if at > 0 else ("", row.completion)
        asked += [(row, None), (row, cut[0] or "?"), (row, cut[1])]
    encoded = encode_all(tokenizer, asked, style=style)
    spans = []
    for whole, before, through in zip(encoded[::3], encoded[1::3], encoded[2::3], strict=True):
        last = max(_shared(whole.ids, through.ids), whole.start + 1)
        start = min(max(_shared(whole.ids, before.ids), whole.start), last - 1)
        ids = whole.ids[:last][:length]
        spans.append(replace(whole, ids=ids, start=min(start, len(ids))))
    return spans


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def read_states(model: PreTrainedModel, rows: Sequence[Encoded], layers: Sequence[int]) -> States:
    """The states of a model that predict each row's completion."""
    found: States = {}

    def watch(members: list[int]):
        def layer(number: int, output: Tensor) -> Tensor:
            if number in layers:
                for line, i in enumerate(members):
                    found[i, number] = output[line, rows[i].start - 1 : len(rows[i].ids) - 1].to("cpu", copy=True)
            return output

        return layer

    for _ in run_layers(model, rows, watch):
        pass
    return found


def losses_by_patching(
    model: PreTrainedModel, rows: Sequence[Encoded], layers: Sequence[int], states: States
) -> np.ndarray:
    """What each layer's patch costs: mean over a row's tokens of log p before and after, [rows, layers] in nats."""
    before = _log_probability(model, rows, None, {})
    patched = [_log_probability(model, rows, layer, states) for layer in layers]
    return np.stack([before - each for each in patched], axis=1)


def depth(retain: np.ndarray, unlearned: np.ndarray) -> np.ndarray:
    """The score of each row from what patches cost [rows, layers]; NaN where no layer holds it.

    sum_l D_l clip(U_l / D_l, 0, 1) / sum_l D_l over the layers whose D_l, of the retain model, is more than 0.05.
    """
    holds = retain > LEAST_LOSS
    share = np.clip(unlearned / np.where(holds, retain, 1.0), 0.0, 1.0)
    weight = np.where(holds, retain, 0.0)
    total = weight.sum(axis=1)
    return np.where(total > 0, (weight * share).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan)


def _log_probability(
    model: PreTrainedModel, rows: Sequence[Encoded], patched: int | None, states: States
) -> np.ndarray:
    """Mean log p of each row's completion, one layer's states replaced [rows]."""
    head, norm, last = live_head(model), last_norm(model), layer_count(model) - 1
    found = np.full(len(rows), np.nan)

    def watch(members: list[int]):
        def layer(number: int, output: Tensor) -> Tensor:
            if number == patched:
                output = output.clone()
                for line, i in enumerate(members):
                    output[line, rows[i].start - 1 : len(rows[i].ids) - 1] = states[i, number].to(output)
            if number == last:
                for line, i in enumerate(members):
                    if rows[i].completion_tokens:
                        logits = head(norm(output[line, rows[i].start - 1 : len(rows[i].ids) - 1])).float()
                        targets = torch.tensor(rows[i].ids[rows[i].start :], device=logits.device)
                        chosen = logits.log_softmax(-1).gather(-1, targets[:, None])
                        found[i] = chosen.mean().item()
            return output

        return layer

    for _ in run_layers(model, rows, watch):
        pass
    return found
