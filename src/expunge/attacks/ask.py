"""Asking a model: rows through the passes of an evaluation, and a value of each metric for each row."""

from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.base import AttackRow, Role, row_of
from expunge.data import PromptStyle, Row, encode_prompts
from expunge.data.processors import pixels_of
from expunge.evaluation.passes.examples import examples
from expunge.evaluation.passes.generate import Sampling, generate, stop_tokens
from expunge.evaluation.passes.plan import Plan, Prompt, plan
from expunge.evaluation.passes.run import Progress, run_plan
from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics import Example, Metric
from expunge.metrics.facts import FACT_ACCURACY
from expunge.metrics.memorization import EXACT_MEMORIZATION, EXTRACTION_STRENGTH
from expunge.metrics.probability import PROBABILITY
from expunge.metrics.rouge import ROUGE_L_RECALL_UNICODE
from expunge.models import context_length

KNOWN: tuple[Metric, ...] = (
    PROBABILITY,
    EXACT_MEMORIZATION,
    EXTRACTION_STRENGTH,
    ROUGE_L_RECALL_UNICODE,
    FACT_ACCURACY,
)
"""What tells whether a model still knows a row."""

FORGET = SetSpec("forget", "forget", "forget")
MAX_TOKENS = 200

Values = Mapping[str, np.ndarray]
"""By metric: a value for each row [n]; NaN where it was not measured."""


def no_progress(stage: str, done: int, of: int) -> None:
    """Nobody is told."""


def ask(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle = PromptStyle(),
    metrics: Sequence[Metric] = KNOWN,
    progress: Progress = no_progress,
    most_tokens: int = MAX_TOKENS,
) -> Values:
    """Measure metrics on every row, through the passes that `expunge eval` runs.

    Args:
        model: in evaluation mode meanwhile.
        tokenizer: its own.
        rows: question and answer, or plain text, which is scored but answers nothing.
        style: how conversations are written.
        metrics: what to measure.
        progress: told after each batch.
        most_tokens: limit of a greedy answer.
    """
    return values_of(metrics, asked(model, tokenizer, rows, style, metrics, progress, most_tokens))


def asked(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    metrics: Sequence[Metric],
    progress: Progress,
    most_tokens: int = MAX_TOKENS,
) -> list[Example]:
    """What the metrics of `ask` are computed from, row by row: a generated answer too, where one of them needs it."""
    suite = suite_of(metrics, most_tokens)
    work = plan(suite, {"forget": rows}, tokenizer, context_length(model.config), style)
    return run(model, tokenizer, suite, rows, work, style, progress)


def values_of(metrics: Sequence[Metric], found: Sequence[Example]) -> Values:
    """Every metric's value of each row."""
    each = {metric.name: [metric.per_example(example) for example in found] for metric in metrics}
    return {name: np.array([np.nan if v is None else v for v in values], float) for name, values in each.items()}


def run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: Suite,
    rows: Sequence[Row],
    work: Plan,
    style: PromptStyle,
    progress: Progress,
) -> list[Example]:
    """Run a plan for rows."""
    measured = run_plan(model, tokenizer, work, progress=progress, style=style)
    return examples(suite, {"forget": rows}, work, measured, tokenizer, style)["forget"]


def said(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    sampling: Sampling | None,
    progress: Progress,
    stage: str,
    each: int = 1,
    most_tokens: int = MAX_TOKENS,
) -> list[str]:
    """What the model answers, greedily or sampled: `each` answers of the first row, then of the second, and so on."""
    length, prompts = context_length(model.config), list[Prompt]()
    for row, ids in zip(rows, encode_prompts(tokenizer, rows, style), strict=True):
        room = most_tokens if length is None else min(most_tokens, max(0, length - len(ids)))
        prompts += [Prompt(tuple(ids), room, pixels_of(tokenizer, row))] * each
    answers, done = [""] * len(prompts), 0
    for batch in generate(model, prompts, range(len(prompts)), stop_tokens(model, tokenizer, style), sampling=sampling):
        for place, tokens in batch:
            answers[place] = str(tokenizer.decode(tokens, skip_special_tokens=True))
        done += len(batch)
        progress(stage, done, len(prompts))
    return answers


def suite_of(metrics: Sequence[Metric], most_tokens: int = MAX_TOKENS) -> Suite:
    """A suite of one set, the forget set, with these metrics."""
    return Suite("attacks", "expunge", "does it come back?", (FORGET,), tuple(metrics), most_tokens, False)


def rows_of(attack: str, setting: str, role: Role, values: Values, before: Values | None = None) -> list[AttackRow]:
    """The rows of attack.json for every metric that some row has; see `base.row_of`."""
    return [
        row
        for metric, each in values.items()
        if not np.isnan(each).all()
        for row in row_of(attack, setting, role, metric, each, None if before is None else before[metric])
    ]
