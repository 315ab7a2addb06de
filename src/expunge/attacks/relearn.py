"""Relearning (arXiv 2406.13356, 2506.12618): a few steps of ordinary fine-tuning, and what comes back elsewhere.

The attacker has every second forget row, or rows that have nothing to do with them, and trains on the answers. What is
reported is measured on the other forget rows, which the attack never saw: what comes back there was not gone.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.ask import KNOWN, Values, ask, no_progress, rows_of
from expunge.attacks.base import NONE, AttackData, AttackRow, Findings, NotMeasured, Role, Subject
from expunge.data import Encoded, PromptStyle, Row, encode_all, fitting
from expunge.errors import InputError
from expunge.evaluation.passes.run import Progress
from expunge.evaluation.request import ModelLike
from expunge.metrics import Metric
from expunge.models import Request, context_length, token_values
from expunge.models.packing import packing
from expunge.objectives.logprobs import log_probability

NAME = "relearn"
STEPS = (10, 30, 100)
RATES = (3e-4, 1e-3)
BATCH_ROWS = 10


def run(subject: Subject) -> Findings:
    """The attack of `expunge attack --attack relearn`."""
    steps, rates = (STEPS[:2], RATES[-1:]) if subject.quick else (STEPS, RATES)
    model, tokenizer = subject.load()
    return _relearn(
        model, tokenizer, subject.data, steps, rates, subject.seed, subject.style, subject.role, subject.progress
    )


def relearn(
    model: ModelLike,
    tokenizer: PreTrainedTokenizerBase | None,
    forget: Sequence[Row],
    retain: Sequence[Row] = (),
    *,
    steps: Sequence[int] = STEPS,
    rates: Sequence[float] = RATES,
    seed: int = 0,
    style: PromptStyle = PromptStyle(),
    role: Role = "unlearned",
    device: str | torch.device | None = None,
    metrics: Sequence[Metric] = KNOWN,
    progress: Progress = no_progress,
) -> list[AttackRow]:
    """Relearn part of the forget rows, and measure the others before and after.

    Args:
        model: a folder, or a loaded model, which has its own weights back when this returns.
        tokenizer: of a loaded model; None for a folder.
        forget: the attacker trains on every second one, from the first; the others are measured.
        retain: rows that have nothing to do with them, for the setting `on=retain`; may be empty.
        steps: when to measure, in optimizer steps; the training of a rate is one run to the largest.
        rates: learning rates of AdamW, constant.
        seed: of the order of rows.
        style: how conversations are written.
        role: which model this is, for the rows.
        device: for a folder; default: a GPU if there is one.
        metrics: what to measure.
        progress: told after each step and batch.

    Returns:
        Rows with settings "none", before the attack, and "steps=30 rate=0.001 on=forget"; each has the value of every
        measured row in `values`, in the order of `forget[1::2]`.

    Raises:
        InputError: fewer than two rows.
    """
    subject = Subject(role, model, AttackData(forget, retain), tokenizer, device=device)
    return _relearn(*subject.load(), subject.data, steps, rates, seed, style, role, progress, metrics).rows


def _relearn(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: AttackData,
    steps: Sequence[int],
    rates: Sequence[float],
    seed: int,
    style: PromptStyle,
    role: Role,
    progress: Progress,
    metrics: Sequence[Metric] = KNOWN,
) -> Findings:
    forget = fitting(tokenizer, data.forget, context_length(model.config))
    if len(forget) < 2:
        raise InputError(f"relearn needs two forget rows, one to train on and one to measure; there is {len(forget)}.")
    known, asked = forget[::2], forget[1::2]
    unrelated = fitting(tokenizer, data.retain, context_length(model.config))[: len(known)]

    def measured() -> Values:
        return ask(model, tokenizer, asked, style, metrics, progress)

    before = measured()
    found = Findings(rows_of(NAME, NONE, role, before))
    if not unrelated:
        found.not_measured.append(NotMeasured(NAME, "on=retain", role, "no retain rows were given (--retain)"))
    done, of = 0, max(steps, default=0) * len(rates) * (2 if unrelated else 1)
    for source, rows in (("forget", known), ("retain", unrelated)):
        encoded = encode_all(tokenizer, [(row, None) for row in rows], context_length(model.config), style)
        for rate in rates if rows else ():
            with lent(model):
                for step, loss in finetuning(model, encoded, rate, max(steps, default=0), seed):
                    done += 1
                    progress("relearning", done, of)
                    setting = f"steps={step} rate={rate:g} on={source}"
                    if not isfinite(loss):
                        found.not_measured.append(NotMeasured(NAME, setting, role, "the loss is not finite any more"))
                        break
                    if step in steps:
                        found.rows += rows_of(NAME, setting, role, measured(), before)
    return found


def finetuning(
    model: PreTrainedModel, rows: Sequence[Encoded], rate: float, steps: int, seed: int
) -> Iterator[tuple[int, float]]:
    """Fine-tune by AdamW on the cross-entropy of the answers, ten rows a step, without dropout or weight decay.

    Yields:
        (step, from 1, and the loss in nats per token before it) when the step is done.
    """
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    order: list[Encoded] = []
    shuffler = random.Random(seed)
    with packing(model):
        for step in range(1, steps + 1):
            while len(order) < min(BATCH_ROWS, len(rows)):
                order += shuffler.sample(rows, len(rows))
            batch, order = order[:BATCH_ROWS], order[BATCH_ROWS:]
            with torch.enable_grad():
                loss = -token_values(model, [Request(batch, [log_probability])])[0][0].mean()
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield step, loss.item()


@contextmanager
def lent(model: PreTrainedModel) -> Iterator[None]:
    """Let all of a model's weights be trained in the block, in evaluation mode; they are as before when it ends."""
    weights = [p for p in model.parameters() if p.is_floating_point()]
    before = [(p.detach().to("cpu", copy=True), p.requires_grad) for p in weights]
    training = model.training
    model.eval()
    for parameter in weights:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, (values, trainable) in zip(weights, before, strict=True):
                parameter.copy_(values)
                parameter.requires_grad_(trainable)
                parameter.grad = None
        model.train(training)
