"""Asking a model: rows through the passes of an evaluation, and a value of each metric for each row."""

from collections.abc import Mapping, Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.base import AttackRow, Role, row_of
from expunge.data import PromptStyle, Row
from expunge.evaluation.passes.examples import examples
from expunge.evaluation.passes.plan import Plan, plan
from expunge.evaluation.passes.run import Progress, run_plan
from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics import Metric
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
    max_tokens: int = MAX_TOKENS,
) -> Values:
    """Measure metrics on every row, through the passes that `expunge eval` runs.

    Args:
        model: in evaluation mode meanwhile.
        tokenizer: its own.
        rows: question and answer, or plain text, which is scored but answers nothing.
        style: how conversations are written.
        metrics: what to measure.
        progress: told after each batch.
        max_tokens: limit of a greedy answer.
    """
    suite = suite_of(metrics, max_tokens)
    work = plan(suite, {"forget": rows}, tokenizer, context_length(model.config), style)
    return run(model, tokenizer, suite, rows, work, style, progress)


def run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: Suite,
    rows: Sequence[Row],
    work: Plan,
    style: PromptStyle,
    progress: Progress,
) -> Values:
    """Run a plan for rows, and read every metric's value of each row."""
    measured = run_plan(model, tokenizer, work, progress=progress, style=style)
    found = examples(suite, {"forget": rows}, work, measured, tokenizer, style)["forget"]
    each = {metric.name: [metric.per_example(example) for example in found] for metric in suite.metrics}
    return {name: np.array([np.nan if v is None else v for v in values], float) for name, values in each.items()}


def suite_of(metrics: Sequence[Metric], max_tokens: int = MAX_TOKENS) -> Suite:
    """A suite of one set, the forget set, with these metrics."""
    return Suite("attacks", "expunge", "does it come back?", (FORGET,), tuple(metrics), max_tokens, False)


def rows_of(attack: str, setting: str, role: Role, values: Values, before: Values | None = None) -> list[AttackRow]:
    """The rows of attack.json for every metric that some row has; see `base.row_of`."""
    return [
        row
        for metric, each in values.items()
        if not np.isnan(each).all()
        for row in row_of(attack, setting, role, metric, each, None if before is None else before[metric])
    ]
