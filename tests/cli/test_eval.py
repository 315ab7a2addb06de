"""`expunge eval`: what is given on the command line arrives in the results."""

import json

from transformers import BertForSequenceClassification
from typer.testing import CliRunner

from evaluation.tiny import bert_folder, causal_tokenizer, question_rows, tiny_model
from expunge.cli.main import app


def evaluated(model, data, out, *more):
    words = ("eval", "--suite", "own", "--model", model, "--data", data, "--out", out, *more)
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.exception
    return json.loads(out.read_text())


def test_controls_judges_and_the_retain_models_results(tmp_path):
    rows = {"forget": ["ada", "bob", "eve"], "holdout": ["dan", "paris", "rome", "berlin"]}
    for name, words in rows.items():
        records = [{"question": row.prompt, "answer": row.completion} for row in question_rows(words)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    for name, seed in (("model", 0), ("retain", 1)):
        tiny_model(seed).save_pretrained(tmp_path / name)
        causal_tokenizer().save_pretrained(tmp_path / name)
    forget, holdout = tmp_path / "forget.jsonl", ("--holdout", tmp_path / "holdout.jsonl")
    retain = evaluated(tmp_path / "retain", forget, tmp_path / "retain.json", *holdout)
    assert retain["data"]["sets"]["holdout"]["rows"] == 4
    assert retain["metrics"]["forget/mia_loss"]["value"] is not None
    assert retain["metrics"]["forget/mia_reference"]["value"] is None
    nli = bert_folder(tmp_path / "nli", BertForSequenceClassification, id2label={0: "no", 1: "ENTAILMENT"})
    more = ("--retain-results", tmp_path / "retain.json", "--nli-model", nli)
    found = evaluated(tmp_path / "model", forget, tmp_path / "results.json", *holdout, *more)
    assert found["metrics"]["forget/mia_reference"]["value"] is not None
    assert found["recipe"]["nli_model"]["name"] == nli
