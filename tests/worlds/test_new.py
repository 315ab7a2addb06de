"""`expunge finetune --init tiny`: a new model learns its rows, with the settings that it comes with."""

import json


def test_a_new_model_learns_its_rows(expunge, data, tmp_path):
    rows = data / "forget.jsonl"
    expunge("finetune", "--init", "tiny", "--data", rows, "--out", tmp_path / "model", "--quiet", "train.use_cpu=true")
    said = expunge("loss", "--model", tmp_path / "model", "--forget", rows, "--objective", "GA", "--json").out
    assert abs(json.loads(said)["total"]) < 1  # nats a token; a model that has learned nothing needs more than five
