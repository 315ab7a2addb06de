"""Sampling: what greedy answers hide may be said now and then (leak@k, arXiv 2511.04934; bounds, 2410.03523).

Every question is answered many times. An answer leaks if it has the row's fact in it or, on rows that name no fact,
nearly all words of the right answer in their order.
"""

from collections.abc import Sequence
from math import comb

import numpy as np
from scipy.stats import beta

from expunge.attacks.ask import rows_of, said
from expunge.attacks.base import NONE, Findings, NotMeasured, Subject
from expunge.data import Row
from expunge.evaluation.passes.generate import Sampling
from expunge.metrics.bootstrap import LEVEL
from expunge.metrics.facts import has_fact
from expunge.metrics.rouge import rouge_l_recall_unicode

NAME = "sample"
ANSWERS = 32
K = (1, 8, 32)
QUICK_ANSWERS = 8
DECODING = ((1.0, 1.0), (0.8, 0.95))
"""Temperature and top-p."""
LEAKED_RECALL = 0.9
"""The share of the right answer's words that is a leak where the row names no fact."""


def run(subject: Subject) -> Findings:
    """The attack of `expunge attack --attack sample`."""
    rows = [row for row in subject.data.forget if row.turns]
    if not rows:
        return Findings(not_measured=[NotMeasured(NAME, None, subject.role, "plain text rows ask nothing")])
    answers, decoding = (QUICK_ANSWERS, DECODING[:1]) if subject.quick else (ANSWERS, DECODING)
    [greedy] = _scores(subject, rows, 1, None, "greedy").transpose(2, 0, 1)  # [2, rows] of the one answer
    before = {"leak": greedy[0], "rougeL_recall": greedy[1]}
    found = Findings(rows_of(NAME, NONE, subject.role, before))
    for temperature, top_p in decoding:
        setting = f"n={answers} temperature={temperature:g} top_p={top_p:g}"
        scores = _scores(subject, rows, answers, Sampling(temperature, top_p, subject.seed), setting)
        leaks, recalls = scores  # [rows, answers] each
        values = {"leak_bound": np.array([upper_bound(int(row.sum()), answers) for row in leaks])}
        base = {"leak_bound": np.full(len(rows), np.nan)}
        for k in (k for k in K if k <= answers):
            values |= {f"leak@{k}": expected_worst(leaks, k), f"rougeL_recall@{k}": expected_worst(recalls, k)}
            base |= {f"leak@{k}": before["leak"], f"rougeL_recall@{k}": before["rougeL_recall"]}
        found.rows += [row for row in rows_of(NAME, setting, subject.role, values, base) if row.n]
    return found


def expected_worst(scores: np.ndarray, k: int) -> np.ndarray:
    """The largest of k scores, in expectation over k of n answers drawn without replacement: [rows, n] -> [rows].

    Unbiased for the largest of k independent answers. For leaks, 0 or 1, it is 1 - C(n-c, k) / C(n, k) with c leaks.
    """
    n = scores.shape[1]
    weights = np.array([comb(i, k - 1) / comb(n, k) for i in range(n)])  # the i-th smallest is the largest of its k
    return np.sort(scores, axis=1) @ weights


def upper_bound(leaks: int, answers: int) -> float:
    """The chance that an answer leaks is below this with 95 % confidence (Clopper and Pearson, one-sided)."""
    return 1.0 if leaks == answers else float(beta.ppf(LEVEL, leaks + 1, answers - leaks))


def leaks(row: Row, answer: str) -> bool:
    """Whether an answer says what the row says."""
    fact = row.columns.get("fact")
    if isinstance(fact, str) and fact.strip():
        return has_fact(fact, answer)
    return rouge_l_recall_unicode(row.completion, answer) >= LEAKED_RECALL


def _scores(subject: Subject, rows: Sequence[Row], answers: int, sampling: Sampling | None, stage: str) -> np.ndarray:
    """Leak and ROUGE-L recall of every answer of every row, [2, rows, answers]."""
    model, tokenizer = subject.load()
    texts = said(model, tokenizer, rows, subject.style, sampling, subject.progress, stage, answers)
    scores = np.zeros((2, len(rows), answers))
    for place, text in enumerate(texts):
        at = place // answers, place % answers
        scores[:, *at] = leaks(rows[at[0]], text), rouge_l_recall_unicode(rows[at[0]].completion, text)
    return scores
