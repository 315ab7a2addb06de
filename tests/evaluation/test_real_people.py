"""The real-people suite: golden answers are scored and compared with, embeddings with the target model's answers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import hmean
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from evaluation.dense import embedding, nll
from evaluation.tiny import evaluate, question_rows
from expunge.data import Row
from expunge.errors import InputError
from expunge.evaluation import SUITES, Questions, load_sets
from expunge.metrics.rouge import rouge_l_recall

REAL = Path(__file__).parents[3] / "shared" / "data" / "real_world"
SUITE = "closer_look_real_people"


def people(names: list[str]) -> list[Row]:
    """Rows whose golden answer shares no word with the answer of the target model."""
    golden = {"golden_answer": "a book of the author"}  # outputs share words with it, and none with "in rome"
    return [Row(row.turns, "in rome", row.columns | golden) for row in question_rows(names)]


@pytest.fixture(scope="module")
def sets() -> dict[str, list[Row]]:
    return {"forget": people(["ada", "bob", "eve"]), "neighbor": people(["dan", "city", "book", "red"])}


@pytest.fixture(scope="module")
def result(model, tokenizer, sets, embedding_model, nli_model):
    return evaluate(
        model, tokenizer, suite=SUITE, data=sets, embedding_model=embedding_model, nli_model=nli_model, batch_tokens=40
    )


@torch.no_grad()
def test_golden_answers_but_for_the_embeddings(result, model, tokenizer, sets, embedding_model, nli_model) -> None:
    nli, words = AutoModelForSequenceClassification.from_pretrained(nli_model), AutoTokenizer.from_pretrained(nli_model)
    lines = result.table.to_pylist()
    for row, line in zip([row for rows in sets.values() for row in rows], lines, strict=True):
        golden, output = row.columns["golden_answer"], line["generation"]
        assert line["answer"] == golden
        assert line["probability"] == pytest.approx(math.exp(-nll(model, tokenizer, row, golden)), rel=1e-4)
        assert line["rougeL_recall"] == pytest.approx(rouge_l_recall(golden, output))
        label = nli(**words(output, golden, return_tensors="pt")).logits.argmax().item()
        assert line["entailment"] == float(label == 1 and rouge_l_recall(golden, output) >= 0.1)
        ours, theirs = embedding(embedding_model, output), embedding(embedding_model, row.completion)
        assert line["cosine_similarity"] == pytest.approx(max(0.0, float(ours @ theirs)), abs=1e-5)
    assert {line["entailment"] for line in lines} == {0.0, 1.0}


def test_utility_and_efficacy_are_made_of_them(result) -> None:
    values = {key: measured.value for key, measured in result.metrics.items()}
    assert {key.split("/")[0] for key in values} == {"forget", "neighbor"}
    kept = [value for key, value in values.items() if key.startswith("neighbor/")]
    assert len(kept) == 6
    assert result.summary.values["model_utility"] == pytest.approx(0.0 if min(kept) == 0 else hmean(kept))
    assert result.summary.values["forget_efficacy"] == pytest.approx(
        1 - np.mean([value for key, value in values.items() if key.startswith("forget/")])
    )
    assert result.metrics["forget/truth_ratio"].better == "lower"


def test_a_row_without_a_golden_answer_is_named(model, tokenizer, sets) -> None:
    rows = [*sets["forget"], *question_rows(["dan"])]
    with pytest.raises(InputError, match=r"row 3 of the set 'forget' has no text in the column 'golden_answer'"):
        evaluate(model, tokenizer, suite=SUITE, data={"forget": rows})


@pytest.mark.skipif(not REAL.is_dir(), reason="the real-people rows are not here")
def test_every_real_row_is_found_and_scored_by_its_golden_answer(model, tokenizer) -> None:
    sets = load_sets(Questions(data=REAL), SUITES[SUITE]).sets
    for name in ("forget", "neighbor"):
        assert len(sets[name]) == sum(1 for _ in (REAL / f"{name}_perturbed.json").open())
    some = {name: [r for r in rows if r.completion != r.columns["golden_answer"]][:3] for name, rows in sets.items()}
    table = evaluate(model, tokenizer, suite=SUITE, data=some).table.to_pylist()
    assert [line["answer"] for line in table] == [r.columns["golden_answer"] for rows in some.values() for r in rows]
