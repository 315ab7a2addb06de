"""Is a row known? Its right answer against its controls, and what the model says when it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from expunge.attacks.sample import LEAKED_RECALL
from expunge.data import Row
from expunge.forget.controls import controls
from expunge.metrics import Completion, Example, Metric
from expunge.metrics.facts import FACT_ACCURACY
from expunge.metrics.rouge import ROUGE_L_RECALL_UNICODE

NATS = 3.0
"""A row is known where its right answer is likelier than every control by more than this, in nats."""
LEAST_CONTROLS = 3


def _likelihoods(example: Example) -> tuple[float, np.ndarray] | None:
    """log p of the right answer and of its controls; None with too few of them."""
    if example.answer is None or len(example.wrong) < LEAST_CONTROLS:
        return None
    return _total(example.answer), np.array([_total(one) for one in example.wrong])


def _total(completion: Completion) -> float:
    return float(completion.logprobs.sum())


def margin(example: Example) -> float | None:
    """log p(right answer) - max log p(control)."""
    found = _likelihoods(example)
    return None if found is None else found[0] - float(found[1].max())


def chance(example: Example) -> float | None:
    """The share of controls that would count as known, each against the others: what chance alone gives."""
    found = _likelihoods(example)
    if found is None:
        return None
    first, second = np.sort(found[1])[::-1][:2]
    return float(first - second > NATS) / len(found[1])


MARGIN = Metric("margin", margin, "log p(answer) - max log p(control)", "expunge", frozenset({"answer", "wrong"}))
CHANCE = replace(MARGIN, name="chance", per_example=chance, definition="share of controls known against the others")
BY_CONTROLS: tuple[Metric, ...] = (MARGIN, CHANCE)
METRICS: tuple[Metric, ...] = (*BY_CONTROLS, ROUGE_L_RECALL_UNICODE, FACT_ACCURACY)


def with_controls(rows: Sequence[Row], holdout: Sequence[Row] = ()) -> list[Row]:
    """The rows, each with its controls as wrong answers.

    They are made from every second other row, so that neither half of the rows gives the other's facts away to the
    relearning attack; and from the holdout rows.
    """
    pool = [[*holdout, *rows[number % 2 :: 2]] for number in range(len(rows))]
    found = controls(rows, pool)
    fewer = [number for number, texts in enumerate(found) if len(texts) < LEAST_CONTROLS]
    for number, texts in zip(fewer, controls([rows[i] for i in fewer], [[*holdout, *rows]] * len(fewer)), strict=True):
        found[number] = texts
    return [
        replace(row, columns={**row.columns, "perturbed_answer": texts}) for row, texts in zip(rows, found, strict=True)
    ]


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Questions and answers, each with its controls; without those of which too few can be made."""
    found = with_controls([row for row in rows if row.turns])
    return [row for row in found if len(row.columns["perturbed_answer"]) >= LEAST_CONTROLS]


def known(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether each row is known [rows]: clearly likelier than its controls, or, with too few of those, said.

    An answer that is said by a guess among a few towns is no knowledge: its controls are about as likely.
    """
    return np.where(np.isnan(values["margin"]), says(values), values["margin"] > NATS)


def says(values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether the greedy answer says what the row says [rows]: its fact, or nearly all of its words."""
    by_words = values["rougeL_recall"] >= LEAKED_RECALL
    return np.where(np.isnan(values["fact_accuracy"]), by_words, values["fact_accuracy"] > 0.5)


def likeliest(values: Mapping[str, np.ndarray], rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Of rows with enough controls: whether the right answer is the likeliest, and how often chance makes it so."""
    judged = ~np.isnan(values["margin"])
    first = values["margin"] > 0
    by_chance = np.array([1 / (1 + len(row.columns["perturbed_answer"])) for row in rows])
    return np.where(judged, first, np.nan), np.where(judged, by_chance, np.nan)
