"""MUSE's layout: plain prompts, examples before questions, answers cut, passages for membership."""

import json

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer

from evaluation.tiny import evaluate, tiny_model
from expunge.evaluation import SUITES
from expunge.evaluation.passes.examples import cut
from expunge.evaluation.results.aggregate import add_privleak
from expunge.evaluation.results.schema import Summary

README = """---
configs:
- config_name: verbmem
  data_files: [{split: forget, path: verbmem.jsonl}]
- config_name: knowmem
  data_files:
  - {split: forget_qa, path: forget_qa.jsonl}
  - {split: forget_qa_icl, path: icl.jsonl}
  - {split: retain_qa, path: retain_qa.jsonl}
  - {split: retain_qa_icl, path: icl.jsonl}
- config_name: privleak
  data_files:
  - {split: forget, path: privleak_forget.jsonl}
  - {split: holdout, path: privleak_holdout.jsonl}
---
"""
ROWS = {
    "verbmem": [
        {"prompt": "ada was born in", "gt": "paris the city of red " * 40},
        {"prompt": "the book", "gt": "is blue"},
    ],
    "forget_qa": [
        {"question": "who is ada", "answer": "the author"},
        {"question": "where is bob", "answer": "in rome"},
    ],
    "retain_qa": [{"question": "what is red", "answer": "a book"}],
    "icl": [{"question": "who is dan", "answer": "a author"}, {"question": "where is eve", "answer": "in london"}],
    "privleak_forget": [{"text": "ada was born in paris"}, {"text": "the book is red"}],
    "privleak_holdout": [{"text": "bob is in the city"}, {"text": "a blue author"}, {"text": "eve was what"}],
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "muse"
    path.mkdir()
    (path / "README.md").write_text(README)
    for name, rows in ROWS.items():
        (path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return path


@torch.no_grad()
def continued(model, tokenizer, text: str, new_tokens: int) -> str:
    """The plain text continued greedily."""
    ids = tokenizer(text)["input_ids"]
    start = len(ids)
    while len(ids) - start < new_tokens:
        token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def rouge_l_f1(reference: str, output: str, stemmed: bool = False) -> float:
    """By the library that MUSE's code calls, with its setting."""
    return RougeScorer(["rougeL"], use_stemmer=stemmed).score(reference, output)["rougeL"].fmeasure


def test_the_whole_suite(model, tokenizer, folder) -> None:
    result = evaluate(model, tokenizer, suite="muse", data=folder, retain_model=tiny_model(1))
    table = result.table.to_pylist()
    verbatim = [row for row in table if row["set"] == "forget_verbmem"]
    for row, source in zip(verbatim, ROWS["verbmem"], strict=True):
        assert row["generation"] == continued(model, tokenizer, source["prompt"], 128)
        reference = " ".join(source["gt"].split()[:128])
        assert row["rougeL_f1"] == pytest.approx(rouge_l_f1(reference, row["generation"]))
    shots = "".join(f"Question: {r['question']}\nAnswer: {r['answer']}\n\n" for r in ROWS["icl"])
    for name in ("forget", "retain"):
        for row, source in zip((r for r in table if r["set"] == f"{name}_knowmem"), ROWS[f"{name}_qa"], strict=True):
            prompt = f"{shots}Question: {source['question']}\nAnswer: "
            answer = cut(continued(model, tokenizer, prompt, 32), ("\n\n", "\nQuestion", "Question:"))
            assert row["question"] == prompt
            assert row["generation"] == answer
            assert row["rougeL_f1"] == pytest.approx(rouge_l_f1(source["answer"], answer))
            assert row["rougeL_f1_stemmed"] == pytest.approx(rouge_l_f1(source["answer"], answer, stemmed=True))
    assert result.metrics["forget_verbmem/rougeL_f1"].better == "lower"
    assert result.metrics["retain_knowmem/rougeL_f1"].better == "higher"
    assert result.metrics["forget/mia_min_k"].n == 5
    assert result.summary.values["privleak"] is not None
    assert set(result.metrics) == {
        "forget/extraction_strength",
        "forget/exact_memorization",
        "forget/mia_loss",
        "forget/mia_zlib",
        "forget/mia_min_k",
        "forget/mia_min_k_plus_plus",
        "forget_verbmem/rougeL_f1",
        "forget_verbmem/rougeL_f1_stemmed",
        "forget_knowmem/rougeL_f1",
        "forget_knowmem/rougeL_f1_stemmed",
        "retain_knowmem/rougeL_f1",
        "retain_knowmem/rougeL_f1_stemmed",
    }


def test_limits_of_new_tokens_are_the_papers() -> None:
    limits = {spec.name: SUITES["muse"].new_tokens(spec, prompt_tokens=500) for spec in SUITES["muse"].sets}
    assert {name: limits[name] for name in ("forget_verbmem", "forget_knowmem", "retain_knowmem")} == {
        "forget_verbmem": 128,
        "forget_knowmem": 32,
        "retain_knowmem": 32,
    }


def test_answers_are_cut_at_the_first_stop() -> None:
    stops = ("\n\n", "\nQuestion", "Question:")
    assert cut("in rome\n\nQuestion: where", stops) == "in rome"
    assert cut("in rome Question: where\n\nmore", stops) == "in rome "
    assert cut("in rome", stops) == "in rome"
    assert cut("\n\n", stops) == ""


def test_the_interval_of_a_privacy_leak_is_that_of_the_leak_over_resamples():
    summary, each = Summary(), np.full(50, 0.6)
    add_privleak(summary, 0.6, 0.5, (each, each - 0.1), "no retain model")
    assert summary.values["privleak"] == pytest.approx(-20)  # (0.4 - 0.5) / 0.5, of 1 - AUC
    assert summary.ci95["privleak"] == pytest.approx((-20, -20))
    add_privleak(summary, 0.6, 0.5, (each, 0.5), "a log has one number")
    assert summary.ci95["privleak"] == pytest.approx((-20, -20))
