"""The report of suite llmu: its own leading numbers, its sets in words, and what the run cost."""

import re

import pytest

from evaluation.tiny import causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.data import Row
from expunge.evaluation.results.schema import Measurement
from expunge.metrics import METRICS
from expunge.report import write_report
from expunge.report.load import load_comparison
from expunge.report.verdict import judge
from expunge.report.words import number


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("llmu") / "results.json"
    passages = [Row((), f"{word} was born in the city of a book " * 12) for word in ("ada", "bob", "eve")]
    data = {"forget": passages, "unseen": passages[:1], "normal": question_rows(["dan"])}
    before = tiny_model(3)
    evaluate(tiny_model(), causal_tokenizer(), suite="llmu", data=data, target_model=before, out=out)
    return out


def test_every_number_states_interval_n_and_direction(results, tmp_path) -> None:
    page = write_report([results], tmp_path / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\N{NO-BREAK SPACE}", " ")
    for words in ("Unseen, like the forget set", "Normal prompts", "Leak rate ↓", "Diversity ↑"):
        assert words in text
    table = text[text.index("Every number") : text.index("What the metrics mean")]
    cells = re.findall(r"(?:\]|no interval) n = \d+", table)
    measured = [
        m for run in load_comparison([results]).models for m in run.results.metrics.values() if m.value is not None
    ]
    assert len(cells) == len(measured) > 8
    assert "--reward-model" in text[text.index("Not measured") :]


def test_the_rates_lead_the_verdict(results) -> None:
    comparison = load_comparison([results])
    found = judge(comparison.runs[0], comparison.target, None).findings[0]
    assert "leak rate" in found.evidence[0].lower()
    assert comparison.target.metric("forget/leak_rate").value == 0
    assert found.answer == "Nothing to forget: the target model's leak rate on the forget set is 0."


def test_what_was_not_there_cannot_become_rarer(make_run, change) -> None:
    folder = make_run(facts=0, retain=False)

    def ignorant(results):
        results.metrics["forget/fact_accuracy"] = Measurement(0.0, "lower", 40, (0.0, 0.1))

    change(folder / "results.target.json", ignorant)
    comparison = load_comparison([folder])
    found = judge(comparison.runs[0], comparison.target, None).findings[0]
    assert found.status == "open"
    assert found.answer.startswith("Nothing to forget")


def test_the_cost_of_a_run_is_a_count(make_run, change, tmp_path) -> None:
    folder = make_run()
    change(folder / "results.json", lambda r: r.summary.values.update({"flops": 1.25e15, "flops_tokens": 5400}))
    cost = load_comparison([folder]).runs[0].summary("flops")
    assert (cost.n, cost.ci95, cost.better) == (5400, None, "lower")
    page = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1.25e+15" in page

    def uncounted(results):
        results.summary.values["flops"] = None
        results.summary.reasons["flops"] = "the run's log does not count this"

    change(folder / "results.json", uncounted)
    assert "does not count this" in write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")


def test_large_numbers_are_cut() -> None:
    assert number(1.25e15) == "1.25e+15"
    assert number(1411.987) == "1411.99"
    assert {"leak_rate", "harmful_rate", "hallucination_rate"} <= {metric.name for metric in METRICS if metric.yes_no}
