"""`expunge merge`: a plain model that says what the adapter says, loaded by transformers alone."""

import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.models import load_model
from expunge.models.fingerprint import fingerprint_tokenizer

SHORT = ["train.num_train_epochs=2", "train.use_cpu=true", "train.learning_rate=1e-2", "lora.r=4"]


def test_the_merged_model_is_plain_and_says_the_same(model_folder, data, tmp_path, expunge):
    run, out = tmp_path / "run", tmp_path / "merged"
    given = ["--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    expunge("unlearn", *given, "--objective", "NPO+GD", "--system", "Be brief.", "--quiet", "--out", run, *SHORT)
    expunge("merge", run, "--out", out)
    assert not (out / "adapter_config.json").exists()
    assert json.loads((out / "prompt_style.json").read_text())["system"] == "Be brief."
    plain, adapted = AutoModelForCausalLM.from_pretrained(out).eval(), load_model(run)[0]
    assert type(plain).__module__.startswith("transformers.")
    ids = torch.arange(5, 25)[None]
    torch.testing.assert_close(plain(ids).logits, adapted(ids).logits)
    before = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    assert (plain(ids).logits - before(ids).logits).abs().max() > 1e-3
    words, own = (AutoTokenizer.from_pretrained(place) for place in (out, model_folder))
    assert fingerprint_tokenizer(words) == fingerprint_tokenizer(own)
    assert "already exists" in expunge("merge", run, "--out", out, code=2).err

    half = tmp_path / "half"
    expunge("merge", run, "--out", half, "--dtype", "bfloat16")
    assert AutoModelForCausalLM.from_pretrained(half).dtype == torch.bfloat16
    # a second merge has nothing to do
    assert "no adapter to merge" in expunge("merge", out, "--out", tmp_path / "again", code=2).err
    assert "float32, bfloat16" in expunge("merge", run, "--out", tmp_path / "x", "--dtype", "int8", code=2).err
