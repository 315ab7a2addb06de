"""How rows are dealt to steps and micro-batches, seen from the trainer."""

import json

import pytest
import torch

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.errors import InputError

FORGET = tiny.FORGET + [tiny.qa(f"How old is person {i}?", f"{20 + i} years.") for i in range(6)]


def trainer(tokenizer, folder, batch, accumulation, attention="sdpa", **options):
    args = UnlearningConfig(
        output_dir=str(folder),
        objective="DPO+GD",
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=2,
        learning_rate=1e-3,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )
    model = tiny.tiny_llama(tokenizer, scale=2.0)
    model.set_attn_implementation(attention)
    return UnlearningTrainer(model, args, FORGET, tiny.RETAIN, tokenizer, refusals=tiny.REFUSALS)


def tokens_of_micro_batches(run):
    """Tokens of each micro-batch of the first epoch, all views together."""
    return [
        sum(len(row.ids) for view in batch["batch"].values() for row in view.rows)
        for batch in run.get_train_dataloader()
    ]


def log(folder):
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("strategy", ["group_by_length", "sequential"])
def test_other_ways_to_fill_a_step_do_not_depend_on_the_cut_either(strategy, tokenizer, tmp_path):
    runs = [
        trainer(tokenizer, tmp_path / str(batch), batch, 8 // batch, train_sampling_strategy=strategy)
        for batch in (8, 2)
    ]
    for run in runs:
        run.train()
    for a, b in zip(log(tmp_path / "8"), log(tmp_path / "2"), strict=True):
        assert a["terms"] == pytest.approx(b["terms"], rel=1e-4, abs=1e-6)
    for a, b in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_micro_batches_of_a_step_are_of_about_the_same_size(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, 2, 4)
    sizes = tokens_of_micro_batches(run)[:4]
    assert max(sizes) < 1.3 * min(sizes)
    assert sizes == sorted(sizes, reverse=True)


def test_padded_rows_of_a_step_are_sorted_by_the_longest_that_go_together(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, 1, 8, attention="eager")  # which cannot run rows in a line
    batches = list(run.get_train_dataloader())[:8]
    longest = [max(len(row.ids) for view in batch["batch"].values() for row in view.rows) for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert len(set(longest)) > 3


def test_the_memory_plan_sees_the_largest_micro_batch_of_the_whole_run(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, 2, 4, seed=2)
    loader, largest = run.get_train_dataloader(), []
    for epoch in range(2):
        loader.set_epoch(epoch)
        sizes = [sum(len(row.ids) for view in b["batch"].values() for row in view.rows) for b in loader if b["counts"]]
        largest.append(max(sizes))
    assert run.memory_shape().tokens == largest[1] > largest[0], "the largest comes in the second epoch"


def test_what_transformers_offers_beyond_that_is_refused(tmp_path):
    with pytest.raises(InputError, match="group_by_length"):
        UnlearningConfig(output_dir=str(tmp_path), train_sampling_strategy="batch_rebalance")
