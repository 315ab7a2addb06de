"""The same rows give the same weights, however a batch is cut."""

import json

import pytest
import torch
from peft import LoraConfig

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.training.batching import VIEWS, Pairing
from thinned import thinned

OBJECTIVES = ["NPO+GD", "DPO+KL", "IDK+AP", "ME+GD", "LLMU", "RESET"]
OPTIONS = {"RESET": {"every": 2, "reset": 0.1, "hinge": 1.0}}  # its level is from the holdout rows
HOLDOUT = [tiny.qa(f"How old is the {what} in Pell?", "Nobody there knows.") for what in ("bridge", "inn", "mill")]


def train(tokenizer, folder, objective="NPO+GD", batch=8, accumulation=1, epochs=2, **options):
    """Unlearn a few rows; return the weights and the log."""
    peft_config, resume = options.pop("peft_config", None), options.pop("resume", None)
    args = UnlearningConfig(
        output_dir=str(folder),
        objective=objective,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
        disable_tqdm=True,
        use_cpu=True,
        **{
            "objective_options": OPTIONS.get(objective, {}),
            "learning_rate": 1e-3,
            "save_strategy": "no",
            "stop_at_chance": False,
            **options,
        },
    )
    people = [tiny.qa(f"How old is person {i}?", f"{20 + i} years.") for i in range(6)]
    forget, retain, holdout = tiny.FORGET + people, tiny.RETAIN, None
    if objective == "RESET":
        retain, holdout = [tiny.qa(f"How tall is person {i}?", f"{150 + i} inches.") for i in range(11)], HOLDOUT
    model = tiny.tiny_llama(tokenizer, scale=2.0)
    sets = forget, retain, tokenizer, peft_config, tiny.REFUSALS
    trainer = UnlearningTrainer(model, args, *sets, holdout=holdout)
    trainer.train(resume_from_checkpoint=resume)
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return trainer, log


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("objective", thinned(OBJECTIVES, "NPO+GD", "IDK+AP", "RESET"))
def test_eleven_rows_in_batches_of_eight_cut_three_ways(objective, tokenizer, tmp_path):
    whole, log = train(tokenizer, tmp_path / "a", objective, 8, 1)
    assert len(log) == 4
    assert len({entry["loss"] for entry in log}) > 1
    for name, batch, accumulation in (("b", 2, 4), ("c", 1, 8)):
        other, other_log = train(tokenizer, tmp_path / name, objective, batch, accumulation)
        # AdamW turns a rounding difference in a tiny gradient into a visible share of a step of 1e-3.
        torch.testing.assert_close(weights(other), weights(whole), rtol=0, atol=1e-4)
        for a, b in zip(log, other_log, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
            assert a["terms"] == pytest.approx(b["terms"], rel=1e-4, abs=1e-6)
            assert a["tokens"] == b["tokens"]


def test_logged_loss_is_the_weighted_sum_of_the_logged_terms(tokenizer, tmp_path):
    options = {"forget_weight": 0.25, "retain_weight": 2.0}
    _, log = train(tokenizer, tmp_path, "NPO+GD", objective_options=options)
    for entry in log:
        expected = 0.25 * entry["terms"]["NPO"] + 2.0 * entry["terms"]["GD"]
        assert entry["loss"] == pytest.approx(expected, rel=1e-4)


def test_pairing_depends_on_seed_epoch_and_index_alone():
    plan, again = Pairing(3, 10, 7, 4, 2), Pairing(3, 10, 7, 4, 2)
    keys = [
        VIEWS[v].keys(plan, e, i)
        for e in range(3)
        for i in range(10)
        for v in ("retain", "forget_idk", "forget_mismatch")
    ]
    backwards = [
        VIEWS[v].keys(again, e, i)
        for e in reversed(range(3))
        for i in reversed(range(10))
        for v in ("forget_mismatch", "forget_idk", "retain")
    ]
    assert keys == backwards[::-1]
    assert keys != [
        VIEWS[v].keys(Pairing(4, 10, 7, 4, 2), e, i)
        for e in range(3)
        for i in range(10)
        for v in ("retain", "forget_idk", "forget_mismatch")
    ]


def test_retain_rows_come_once_each_before_any_comes_twice():
    plan = Pairing(0, forget=5, retain=8)
    drawn = [plan.retain_row(epoch, index) for epoch in range(8) for index in range(5)]
    for start in range(0, 40, 8):
        assert sorted(drawn[start : start + 8]) == list(range(8))


def test_mismatched_answers_are_other_rows_and_distinct():
    plan = Pairing(0, forget=6, retain=9, mismatches=5)
    for index in range(6):
        others = [other for _, other in VIEWS["forget_mismatch"].keys(plan, 1, index)]
        assert len(set(others)) == 5
        assert plan.retain_row(1, index) not in others


def test_lora_trains_its_adapter_and_nothing_else(tokenizer, tmp_path):
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    for checkpointing in (False, True):
        trainer, _ = train(
            tokenizer,
            tmp_path / str(checkpointing),
            "NPO+KL",
            peft_config=lora,
            gradient_checkpointing=checkpointing,
        )
        state = trainer.model.state_dict()
        assert all(state[name].abs().sum() > 0 for name in state if "lora_B" in name)
        before = tiny.tiny_llama(tokenizer, scale=2.0).state_dict()
        base = trainer.model.get_base_model().state_dict()
        for name, value in base.items():
            if "lora" not in name:
                torch.testing.assert_close(value, before[name.replace("base_layer.", "")], rtol=0, atol=0)


def test_lora_and_its_first_step_agree_with_full_training_on_the_loss(tokenizer, tmp_path):
    """Before the first update an adapter changes nothing, so the first logged terms are those of the full model."""
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    _, full = train(tokenizer, tmp_path / "full", "DPO+KL", epochs=1)
    _, adapter = train(tokenizer, tmp_path / "lora", "DPO+KL", epochs=1, peft_config=lora)
    assert adapter[0]["terms"] == pytest.approx(full[0]["terms"], rel=1e-5, abs=1e-6)


def test_an_adapter_on_4_bit_weights_trains(tokenizer, model_folder, tmp_path):
    pytest.importorskip("bitsandbytes")
    from expunge.models import load_model

    model, words = load_model(model_folder, quantization="nf4")
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    args = UnlearningConfig(
        output_dir=str(tmp_path),
        objective="NPO+KL",
        learning_rate=1e-2,
        per_device_train_batch_size=5,
        gradient_accumulation_steps=1,
        num_train_epochs=4,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, words, lora)
    trainer.train()
    log = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    assert log[0]["terms"]["KL"] == pytest.approx(0, abs=1e-6)
    assert log[-1]["terms"]["NPO"] < log[0]["terms"]["NPO"]
