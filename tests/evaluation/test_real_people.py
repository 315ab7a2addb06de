"""The real-people suite: golden answers for NLI, the output as premise always, neighbours as what is kept."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evaluation.tiny import evaluate, question_rows
from expunge.data import Row
from expunge.evaluation import SUITES, Questions, load_sets
from expunge.metrics.rouge import rouge_l_recall

REAL = Path(__file__).parents[3] / "shared" / "data" / "real_world"


@pytest.fixture
def folder(tmp_path):
    for name, people in (("forget", ["ada", "bob"]), ("neighbor", ["eve", "dan", "city"])):
        rows = question_rows(people)
        lines = [
            {"question": r.prompt, "answer": r.completion, "golden_answer": f"{p} is of paris", **r.columns}
            for p, r in zip(people, rows, strict=True)
        ]
        (tmp_path / f"{name}_perturbed.json").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


@torch.no_grad()
def test_golden_answers_and_directions(model, tokenizer, folder, embedding_model, nli_model) -> None:
    options = {"embedding_model": embedding_model, "nli_model": nli_model}
    result = evaluate(model, tokenizer, suite="closer_look_real_people", data=folder, **options)
    nli, words = AutoModelForSequenceClassification.from_pretrained(nli_model), AutoTokenizer.from_pretrained(nli_model)
    golden = {
        json.loads(line)["question"]: json.loads(line)["golden_answer"] for f in folder.iterdir() for line in f.open()
    }
    for row in result.table.to_pylist():
        label = nli(**words(row["generation"], golden[row["question"]], return_tensors="pt")).logits.argmax().item()
        expected = label == 1 and rouge_l_recall(row["answer"], row["generation"]) >= 0.1
        assert row["entailment"] == float(expected)
    assert {key.split("/")[0] for key in result.metrics} == {"forget", "neighbor"}
    assert len(result.summary.parts["model_utility"]) == 6
    assert result.summary.values["forget_efficacy"] is not None
    assert result.metrics["forget/truth_ratio"].better == "lower"


def test_a_row_without_a_golden_answer_is_not_judged(model, tokenizer, nli_model) -> None:
    rows = [Row(r.turns, r.completion, r.columns) for r in question_rows(["ada"])]
    result = evaluate(model, tokenizer, suite="closer_look_real_people", data={"forget": rows}, nli_model=nli_model)
    assert result.metrics["forget/entailment"].value is None


@pytest.mark.skipif(not REAL.is_dir(), reason="the real-people rows are not here")
def test_every_real_row_is_found() -> None:
    sets = load_sets(Questions(data=REAL), SUITES["closer_look_real_people"]).sets
    for name in ("forget", "neighbor"):
        assert len(sets[name]) == sum(1 for _ in (REAL / f"{name}_perturbed.json").open())
        assert all("golden_answer" in row.columns for row in sets[name])
