"""What bfloat16 costs in accuracy, that it is what was asked for, and which precision `auto` takes."""

import json

import pytest
import torch

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.errors import InputError
from expunge.models.precision import choose_precision

FAST, SLOW = {"avx512_bf16": True, "amx_bf16": False}, {"avx512_bf16": False, "amx_bf16": False}
CPU = torch.device("cpu")


@pytest.fixture
def target(tmp_path, tokenizer):
    folder = tmp_path / "target"
    tiny.tiny_llama(tokenizer, scale=2.0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = [{"question": row.prompt, "answer": row.completion} for row in tiny.FORGET]
    (tmp_path / "forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def measured(expunge, target, tmp_path, precision):
    out = tmp_path / f"{precision}.json"
    said = expunge(
        *("eval", "--model", target, "--suite", "own", "--data", tmp_path / "forget.jsonl"),
        *("--precision", precision, "--device", "cpu", "--out", out),
    ).err
    return json.loads(out.read_text()), said


def test_an_evaluation_in_bfloat16_is_near_one_in_float32_and_says_what_it_is(expunge, target, tmp_path):
    exact, _ = measured(expunge, target, tmp_path, "float32")
    rounded, _ = measured(expunge, target, tmp_path, "bfloat16")
    assert (exact["recipe"]["precision"], rounded["recipe"]["precision"]) == ("float32", "bfloat16")
    assert exact["recipe"]["fingerprint"] != rounded["recipe"]["fingerprint"]
    probabilities = [results["metrics"]["forget/probability"]["value"] for results in (exact, rounded)]
    assert probabilities[0] != probabilities[1]  # it is another precision
    assert probabilities[1] == pytest.approx(probabilities[0], rel=0.03)


@pytest.mark.parametrize(("capabilities", "chosen"), [(FAST, "bfloat16"), (SLOW, "float32")])
def test_auto_takes_what_the_processor_multiplies_faster_and_says_so(
    expunge, target, tmp_path, monkeypatch, capabilities, chosen
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    results, said = measured(expunge, target, tmp_path, "auto")
    assert results["recipe"]["precision"] == chosen
    assert f"Computing in {chosen}" in said
    run = tmp_path / "run"
    said = expunge(
        *("unlearn", "--model", target, "--forget", tmp_path / "forget.jsonl", "--objective", "GA"),
        *("--precision", "auto", "--out", run, "--quiet", "train.use_cpu=true", "train.num_train_epochs=1"),
    ).err
    assert f"computing in {chosen}" in said
    assert f"bf16: {str(chosen == 'bfloat16').lower()}" in (run / "recipe.yaml").read_text()


def test_another_precision_is_refused():
    with pytest.raises(InputError, match="float16"):
        choose_precision("float16", CPU)


def test_training_in_bfloat16_goes_where_float32_goes(tokenizer, tmp_path):
    """Weights stay float32; the updates of both point the same way."""
    moved = {}
    for bf16 in (False, True):
        model = tiny.tiny_llama(tokenizer, scale=2.0)
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        args = UnlearningConfig(
            output_dir=str(tmp_path / str(bf16)),
            objective="NPO+GD",
            bf16=bf16,
            use_cpu=True,
            num_train_epochs=3,
            learning_rate=1e-3,
            optim="sgd",  # AdamW takes whole steps on gradients that are rounding alone
            disable_tqdm=True,
            save_strategy="no",
        )
        UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer).train()
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        moved[bf16] = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    cosine = torch.nn.functional.cosine_similarity(moved[False], moved[True], dim=0)
    assert 0.99 < cosine < 1 - 1e-7  # near, and not the same computation
    assert moved[True].norm() == pytest.approx(float(moved[False].norm()), rel=0.02)
