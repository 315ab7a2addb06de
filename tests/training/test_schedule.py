"""How long a run is, which steps it takes, and on how many devices."""

import json

import pytest
import torch

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.errors import InputError


def trainer(tokenizer, folder, objective="NPO+KL", batch=2, accumulation=1, **options):
    args = UnlearningConfig(
        output_dir=str(folder),
        objective=objective,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        disable_tqdm=True,
        **{"use_cpu": True, "learning_rate": 1e-3, "save_strategy": "no", "stop_at_chance": False, **options},
    )
    return UnlearningTrainer(tiny.tiny_llama(tokenizer, scale=2.0), args, tiny.FORGET, tiny.RETAIN, tokenizer)


def log(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("objective", ["NPO+KL", "IDK+AP"])
def test_max_steps_may_ask_for_more_than_the_epochs(objective, tokenizer, tmp_path):
    """Seven steps at three an epoch reach the third epoch; two epochs were asked for, or one."""
    short = trainer(tokenizer, tmp_path / "short", objective, num_train_epochs=1, max_steps=7)
    assert (
        short.memory_shape().tokens
        == trainer(tokenizer, tmp_path / "x", objective, num_train_epochs=3).memory_shape().tokens
    )
    short.train()
    assert [entry["step"] for entry in log(tmp_path / "short")] == list(range(1, 8))
    long = trainer(tokenizer, tmp_path / "long", objective, num_train_epochs=5, max_steps=7)
    long.train()
    assert torch.equal(flat(short.model), flat(long.model))


def test_a_short_last_step_is_taken_unless_it_is_to_be_dropped(tokenizer, tmp_path):
    """Five rows, two a step: two whole steps and a short one."""
    steps = {}
    for drop in (False, True):
        run = trainer(tokenizer, tmp_path / str(drop), "GA+GD", num_train_epochs=3, dataloader_drop_last=drop)
        loader, steps[drop] = run.get_train_dataloader(), []
        for epoch in range(3):
            loader.set_epoch(epoch)
            steps[drop].append([key[0] for batch in loader for key in batch["batch"]["forget"].keys])
        run.train()
        assert len(log(tmp_path / str(drop))) == (6 if drop else 9)
    assert all(sorted(epoch) == list(range(5)) for epoch in steps[False])
    assert all(len(set(epoch)) == 4 for epoch in steps[True])
    assert len({min(set(range(5)) - set(epoch)) for epoch in steps[True]}) > 1, "other rows are left out in each epoch"


def test_dropping_the_only_step_is_refused(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"fewer than 8 rows, and a pass has 5"):
        trainer(tokenizer, tmp_path, batch=8, dataloader_drop_last=True)


@pytest.mark.parametrize("warmup", [0.2, 1, 5])
def test_a_run_of_one_step_trains_though_warmups_begin_at_zero(warmup, tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, batch=8, num_train_epochs=1, warmup_steps=warmup)
    before = flat(run.model).clone()
    run.train()
    (entry,) = log(tmp_path)
    assert entry["learning_rate"] == 1e-3
    assert not torch.equal(flat(run.model), before)


def test_longer_warmups_are_as_they_were(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, batch=5, num_train_epochs=10)  # ten steps, a fifth of them warm-up
    run.train()
    expected = [0, 5e-4, *(1e-3 * left / 8 for left in range(8, 0, -1))]
    assert [entry["learning_rate"] for entry in log(tmp_path)] == pytest.approx(expected)


def test_several_visible_gpus_are_not_wrapped_into_one_model(tokenizer, tmp_path, monkeypatch):
    alone = trainer(tokenizer, tmp_path / "alone", num_train_epochs=1)
    alone.train()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.warns(UserWarning, match="2 GPUs are visible, and one of them is used.*--launch 2"):
        run = trainer(tokenizer, tmp_path / "two", num_train_epochs=1, use_cpu=False)
    run.train()
    assert not isinstance(run.model_wrapped, torch.nn.DataParallel)
    assert torch.equal(flat(run.model), flat(alone.model))
