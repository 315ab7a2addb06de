"""Rows that leave nothing to measure, or nothing to tell apart, give defined results in every suite: never NaN."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import BertForSequenceClassification

from evaluation.tiny import bert_folder, causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.data import Row, Turn
from expunge.evaluation import SUITES
from thinned import thinned

COLUMNS = {"paraphrased_answer": "bob", "perturbed_answer": ["eve"], "right_answer": "eve", "original_answer": "bob"}
LONG = " ".join(["red", "blue", "the", "a"] * 300)


def asked(answer: str, **columns) -> Row:
    return Row((Turn("user", "who is ada"),), answer, COLUMNS | columns)


ROWS = {
    "one row": [asked("bob")],
    "an answer that is empty": [asked("")],
    "one of two is empty": [asked(""), asked("bob")],
    "always the same": [asked("bob")] * 4,
    "nothing to compare with": [asked("bob", paraphrased_answer="", perturbed_answer=["", None], right_answer="")] * 2,
    "a thousand tokens": [asked(LONG), asked("bob")],
    "no prompt": [Row((), "red"), Row((), LONG)],
    "no letters": [asked("..."), asked("?")],
}


@pytest.fixture(scope="module")
def judges(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("judges")
    tiny_model(7).save_pretrained(folder / "fluency")
    causal_tokenizer().save_pretrained(folder / "fluency")
    classifier = bert_folder(folder / "classifier", BertForSequenceClassification, id2label={0: "yes", 1: "no"})
    reward = bert_folder(folder / "reward", BertForSequenceClassification, num_labels=1)
    return {
        "classifiers": {"harmful": (classifier, "yes")},
        "reward_model": reward,
        "fluency_model": str(folder / "fluency"),
    }


@pytest.mark.parametrize("kind", thinned(ROWS, "an answer that is empty", "no prompt", "no letters"))
@pytest.mark.parametrize("suite", ["tofu", "own", pytest.param("llmu", marks=pytest.mark.slow)])
def test_results_are_defined(tokenizer, judges, embedding_model, nli_model, tmp_path, suite, kind) -> None:
    model, other = tiny_model(), tiny_model(1)
    for each in (model, other):
        each.config.max_position_embeddings = 2048
    rows = ROWS[kind]
    data = {spec.name: rows for spec in SUITES[suite].sets}
    short = replace(SUITES[suite], max_tokens=12)
    out = tmp_path / "results.json"
    models = {"tofu": {"retain_model": other}, "own": {}, "llmu": {"target_model": other}}[suite]
    texts = {"embedding_model": embedding_model, "nli_model": nli_model}
    result = evaluate(model, tokenizer, suite=short, data=data, out=out, **models, **texts, **judges)
    for file in tmp_path.glob("*.json"):
        raw = json.loads(file.read_text(), parse_constant=pytest.fail)
        for key, measured in raw["metrics"].items():
            assert (measured["value"] is None) == ("reason" in measured) == (measured["n"] == 0), key
            assert (
                measured["ci95"] is None
                or measured["ci95"][0] - 1e-9 <= measured["value"] <= measured["ci95"][1] + 1e-9
            )
        assert all(name in raw["reasons"] for name, value in raw["summary"].items() if value is None)
    values = [value for line in result.table.to_pylist() for value in line.values() if isinstance(value, float)]
    assert all(map(math.isfinite, values))
    assert values or all(not row.turns for row in rows)


def test_one_bit_of_a_judge_is_another_judge(model, tokenizer, judges, tmp_path) -> None:
    judge = Path(shutil.copytree(judges["fluency_model"], tmp_path / "judge"))
    options = {"suite": "own", "data": {"forget": question_rows(["ada", "bob"])}, "out": tmp_path / "results.json"}
    before = evaluate(model, tokenizer, fluency_model=str(judge), **options)
    weights = judge / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 0x40  # the highest bit of a mantissa
    weights.write_bytes(content)
    after = evaluate(model, tokenizer, fluency_model=str(judge), **options)
    assert after.recipe["fluency_model"]["fingerprint"] != before.recipe["fluency_model"]["fingerprint"]
    assert after.metrics["forget/perplexity"].value != before.metrics["forget/perplexity"].value
    assert after.metrics["forget/probability"].value == before.metrics["forget/probability"].value
