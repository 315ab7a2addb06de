"""From per-example logs with the keys of TOFU's own evaluation to its aggregates, by the formulas of its released code.

TOFU writes one such object per set: for each row the summed and the token-mean loss of answer, paraphrase and wrong
answers, their token counts, and ROUGE-L recall. The numbers below are made up.
"""

import json
from statistics import fmean, harmonic_mean

import numpy as np
import pytest
from scipy.stats import ks_2samp

from expunge.data import Row, Turn
from expunge.evaluation.results.aggregate import add_forget_quality, measurements, summarise
from expunge.evaluation.results.retain import read_retain_results
from expunge.evaluation.results.table import build_table, column_of
from expunge.evaluation.suites import SUITES
from expunge.metrics import Completion, Example

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NAMES = {"forget": "eval_log_forget", "retain": "eval_log"} | {
    name: f"eval_{name}_wo_options" for name in ("real_authors", "world_facts")
}


def log_of(seed: int, rows: int, own_paraphrase: bool) -> dict[str, dict[str, float | list[float]]]:
    """One set's log."""
    rng = np.random.default_rng(seed)
    log: dict = {key: {} for key in ("avg_gt_loss", "gt_loss", "num_token_gt", "avg_paraphrased_loss", "rougeL_recall")}
    log |= {key: {} for key in ("num_token_paraphrased", "average_perturb_loss", "num_token_perturb", "perturb_loss")}
    for index in map(str, range(rows)):
        tokens = [int(n) for n in rng.integers(1, 30, 5)]
        losses = [float(x) for x in rng.uniform(0.05, 4.0, 5)]
        log["avg_gt_loss"][index], log["num_token_gt"][index] = losses[0], tokens[0]
        log["gt_loss"][index] = losses[0] * tokens[0]
        same = 0 if own_paraphrase else 1
        log["avg_paraphrased_loss"][index], log["num_token_paraphrased"][index] = losses[same], tokens[same]
        log["average_perturb_loss"][index], log["num_token_perturb"][index] = losses[2:], tokens[2:]
        log["perturb_loss"][index] = [a * b for a, b in zip(losses[2:], tokens[2:], strict=True)]
        log["rougeL_recall"][index] = int(rng.integers(1, 11)) / 10
    return log


@pytest.fixture(scope="module")
def logs() -> dict[str, dict]:
    return {key: log_of(seed, 7 + seed, own_paraphrase="wo_options" in key) for seed, key in enumerate(NAMES.values())}


def completion(total: float, tokens: int) -> Completion:
    """A completion with this summed loss."""
    return Completion(np.full(tokens, -total / tokens), np.zeros(tokens, dtype=bool), ends=True)


def table_of(logs):
    """The logs as our table of examples."""
    suite, sets, examples = SUITES["tofu"], {}, {}
    for spec in suite.sets:
        if spec.name not in NAMES:
            continue
        log = logs[NAMES[spec.name]]
        sets[spec.name] = [Row((Turn("user", f"question {i}"),), " ".join(WORDS)) for i in log["gt_loss"]]
        examples[spec.name] = [
            Example(
                spec.kind,
                choices=spec.choices,
                answer=completion(log["gt_loss"][i], log["num_token_gt"][i]),
                paraphrase=completion(
                    log["avg_paraphrased_loss"][i] * log["num_token_paraphrased"][i], log["num_token_paraphrased"][i]
                ),
                wrong=tuple(map(completion, log["perturb_loss"][i], log["num_token_perturb"][i])),
                generation=" ".join(WORDS[: round(10 * log["rougeL_recall"][i])]),
                reference=" ".join(WORDS),
            )
            for i in log["gt_loss"]
        ]
    return build_table(suite, sets, examples)


def aggregates(log: dict, key: str) -> tuple[float, float, float]:
    """Probability, ROUGE-L recall and truth ratio as TOFU's released code computes them."""
    answers = [np.exp(-log["avg_gt_loss"][i]) for i in log["avg_gt_loss"]]
    if "wo_options" in key:
        wrong = [np.exp(-np.array(log["average_perturb_loss"][i])).sum() for i in log["avg_gt_loss"]]
        answers = [a / (a + b) for a, b in zip(answers, wrong, strict=True)]
    ratios = truth_ratios(log)
    terms = [min(r, 1 / r) for r in ratios] if "forget" in key else [max(0.0, 1 - r) for r in ratios]
    return fmean(answers), fmean(log["rougeL_recall"].values()), fmean(terms)


def truth_ratios(log: dict) -> list[float]:
    """R_truth: the geometric mean probability of wrong answers over the paraphrase's (the paper: arithmetic mean)."""
    pairs = zip(log["average_perturb_loss"].values(), log["avg_paraphrased_loss"].values(), strict=True)
    return [float(np.prod(np.exp(-np.array(wrong))) ** (1 / len(wrong)) / np.exp(-right)) for wrong, right in pairs]


def test_from_logs_to_aggregates(logs) -> None:
    suite, table = SUITES["tofu"], table_of(logs)
    found = measurements(suite, table, list(NAMES))
    for name, key in NAMES.items():
        expected = aggregates(logs[key], key)
        for metric, value in zip(("probability", "rougeL_recall", "truth_ratio"), expected, strict=True):
            assert found[f"{name}/{metric}"].value == pytest.approx(value)
            assert found[f"{name}/{metric}"].n == len(logs[key]["gt_loss"])
    kept = [value for name, key in NAMES.items() if name != "forget" for value in aggregates(logs[key], key)]
    assert summarise(suite, table, list(NAMES), {}).values["model_utility"] == pytest.approx(harmonic_mean(kept))


def test_from_logs_to_forget_quality(logs) -> None:
    retain = log_of(11, 9, own_paraphrase=False)
    summary = summarise(SUITES["tofu"], table_of(logs), list(NAMES), {})
    theirs = column_of(table_of(logs | {"eval_log_forget": retain}), "forget", "truth_ratio")
    add_forget_quality(summary, column_of(table_of(logs), "forget", "truth_ratio"), theirs, "")
    expected = ks_2samp(truth_ratios(logs["eval_log_forget"]), truth_ratios(retain))
    assert summary.values["forget_quality"] == pytest.approx(expected.pvalue)
    assert summary.values["forget_quality_ks_distance"] == pytest.approx(expected.statistic)
    assert 0 < expected.pvalue < 1


def test_a_log_of_the_retain_model_gives_truth_ratios_and_an_auc(tmp_path) -> None:
    scores = {"0": {"score": 0.5}, "1": {"score": 0.25}, "2": {"score": None}}  # as they log them: 1/r
    log = {"forget_truth_ratio": {"value_by_index": scores}, "mia_min_k": {"agg_value": 0.6}}
    (tmp_path / "TOFU_EVAL.json").write_text(json.dumps(log))
    numbers, results = read_retain_results(tmp_path / "TOFU_EVAL.json")
    np.testing.assert_allclose(numbers.truth_ratios, [2, 4, np.nan])
    assert (numbers.min_k_auc, results) == (0.6, None)
