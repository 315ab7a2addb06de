"""The numbers of hierarchical unlearning (MedForget, arXiv 2512.09867): maths on values that rows were measured at.

A row is scored once: with four choices, 1 if the right one is the likeliest; open or with a gap, 1 if the answer is
the right one word for word. *Leak* is what the unlearned model scores above the retain model, which never learned the
forget set but knows the rest of the tree: what it can infer is nobody's to take away.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expunge.metrics import Example, Metric
from expunge.metrics.bootstrap import mean_interval
from expunge.metrics.facts import plain
from expunge.metrics.rouge import ROUGE_L_RECALL_UNICODE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from expunge.data import Row

Number = tuple[float, tuple[float, float] | None, int]
"""Value, 95 % interval, and how many rows it is of."""
Records = Sequence[Mapping[str, Any]]


def rank(example: Example) -> float | None:
    """Place of the right answer among all candidates by their probability, from 1; ties share their places."""
    if example.answer is None or not example.wrong:
        return None
    right = float(example.answer.logprobs.sum())
    wrong = np.array([float(one.logprobs.sum()) for one in example.wrong])
    return 1 + float((wrong > right).sum()) + float((wrong == right).sum()) / 2


def chosen(example: Example) -> float | None:
    """1 if the right answer is likelier than every other candidate, 0 if not."""
    place = rank(example)
    return None if place is None else float(place == 1)


def exact(example: Example) -> float | None:
    """1 if the greedy answer is the right one, whatever the case and white space, 0 if not."""
    return None if example.generation is None else float(plain(example.generation) == plain(example.reference))


RANK = Metric(
    "rank", rank, "place of the right answer among its candidates", "2512.09867", frozenset({"answer", "wrong"})
)
CHOSEN = Metric(
    "accuracy", chosen, "share of right answers that are the likeliest choice", "2512.09867", RANK.needs, yes_no=True
)
EXACT = Metric(
    "exact_match", exact, "share of greedy answers that are the right one", "2512.09867", frozenset({"generation"})
)
MEASURED: dict[str, tuple[Metric, ...]] = {
    "open": (EXACT, ROUGE_L_RECALL_UNICODE),
    "cloze": (EXACT,),
    "choice": (CHOSEN,),
}
"""What is measured of a row, by its task; the first is its score."""
LADDER = (EXACT, RANK)
LONGEST_ANSWER = 32  # tokens; right ones have a third of that


def measure(
    model: "PreTrainedModel",
    words: "PreTrainedTokenizerBase",
    rows: "Sequence[Row]",
    metrics: Mapping[str, tuple[Metric, ...]],
) -> dict[str, list[float | None]]:
    """Measure rows by their task.

    Args:
        model: that is asked.
        words: its tokenizer.
        rows: with their task as a column.
        metrics: of each task.

    Returns:
        Each metric's value of every row, None where its task has not that metric.
    """
    from expunge.attacks.ask import ask

    found: dict[str, list[float | None]] = {}
    for task, its in metrics.items():
        places = [i for i, row in enumerate(rows) if row.columns["task"] == task]
        if not places:
            continue
        each = ask(model, words, [rows[i] for i in places], metrics=its, most_tokens=LONGEST_ANSWER)
        for metric, measured in each.items():
            column = found.setdefault(metric, [None] * len(rows))
            for i, value in zip(places, measured.tolist(), strict=True):
                column[i] = value
    return found


def scores(records: Records, values: Mapping[str, list[float | None]]) -> np.ndarray:
    """Each row's score: what its task is scored by [n]."""
    return np.array([values[MEASURED[record["task"]][0].name][i] for i, record in enumerate(records)], float)


def number(values: np.ndarray) -> Number:
    """The mean of values [n], n > 0, with its interval by bootstrap."""
    return float(np.mean(values)), mean_interval(values), len(values)


def by(names: Sequence[str], records: Records, values: np.ndarray) -> dict[str, np.ndarray]:
    """Values [n] of the records that have the same in these columns, by what that is: `correlated/choice`."""
    keys = ["/".join(str(record[name]) for name in names) for record in records]
    return {key: values[[k == key for k in keys]] for key in dict.fromkeys(keys)}


def leak(records: Records, scores: np.ndarray, retain: np.ndarray) -> dict[str, Number]:
    """By class of fact, on choices (what the model knows) and answers (what it says): scores above the retain model's.

    Args:
        records: of the forget set, with their class and task.
        scores: of the unlearned model [n].
        retain: of the retain model on the same rows [n].
    """
    said = [{**record, "task": "choice" if record["task"] == "choice" else "said"} for record in records]
    return {key: number(values) for key, values in by(("class", "task"), said, scores - retain).items()}


def gap(retain: np.ndarray, forget: np.ndarray) -> Number:
    """What is kept above what is forgotten: mean score of retain rows [m] minus that of forget rows [n]."""
    from expunge.metrics.bootstrap import interval, resampled_means

    spread = interval(resampled_means(retain) - resampled_means(forget)) if min(len(retain), len(forget)) > 1 else None
    return float(np.mean(retain) - np.mean(forget)), spread, len(forget)
