"""The report of suite llmu: its own leading numbers, its sets in words, and what the run cost."""

import re

import pytest

from evaluation.tiny import causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.data import Row
from expunge.metrics import METRICS
from expunge.report import write_report
from expunge.report.load import load_comparison
from expunge.report.verdict import judge
from expunge.report.words import number
from signed import change


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
    assert "did not know the forget set" in found.answer


def test_what_was_not_there_cannot_become_rarer(make_run) -> None:
    folder = make_run(facts=0, retain=False)
    target = folder / "results.target.json"
    change(target, lambda raw: raw["metrics"]["forget/fact_accuracy"].update(value=0.0))
    comparison = load_comparison([folder])
    found = judge(comparison.runs[0], comparison.target, None).findings[0]
    assert found.status == "open"
    assert "did not know the forget set" in found.answer


def test_the_cost_of_a_run_is_a_count(make_run, tmp_path) -> None:
    folder = make_run()
    change(folder / "results.json", lambda raw: raw["summary"].update(flops=1.25e15, flops_tokens=5400))
    cost = load_comparison([folder]).runs[0].summary("flops")
    assert (cost.n, cost.ci95, cost.better) == (5400, None, "lower")
    page = write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1.25e+15" in page
    why = "the run's log does not count this"
    change(folder / "results.json", lambda raw: (raw["summary"].update(flops=None), raw["reasons"].update(flops=why)))
    assert "does not count this" in write_report([folder], tmp_path / "report.html").read_text(encoding="utf-8")


def test_large_numbers_are_cut() -> None:
    assert number(1.25e15) == "1.25e+15"
    assert number(1411.987) == "1411.99"
    assert {"leak_rate", "harmful_rate", "hallucination_rate"} <= {metric.name for metric in METRICS if metric.yes_no}
