"""What train_log.jsonl says of each step."""

import json

import pytest

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer


def log_of(tokenizer, folder, objective, logging_steps=1, epochs=3, **options):
    args = UnlearningConfig(
        output_dir=str(folder),
        objective=objective,
        objective_options=options,
        num_train_epochs=epochs,
        logging_steps=logging_steps,
        learning_rate=1e-3,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer).train()
    return [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]


def test_a_weight_that_follows_the_loss_is_logged_as_the_step_used_it(tokenizer, tmp_path):
    log = log_of(tokenizer, tmp_path, "PDU+GD", eps=1.0, eta=0.5)
    weight = 1.0
    for entry in log:
        assert entry["weights"] == pytest.approx({"PDU": 1.0, "GD": weight})
        assert entry["loss"] == pytest.approx(entry["terms"]["PDU"] + weight * (entry["terms"]["GD"] - 1.0), rel=1e-4)
        weight = max(0.0, weight + 0.5 * (entry["terms"]["GD"] - 1.0))
    assert len({entry["weights"]["GD"] for entry in log}) == 3


def test_a_line_of_several_steps_has_each_terms_mean_over_them(tokenizer, tmp_path):
    each, thirds = (log_of(tokenizer, tmp_path / str(n), "NPO+GD", logging_steps=n, epochs=6) for n in (1, 3))
    assert (len(each), len(thirds)) == (6, 2)
    for i, entry in enumerate(thirds):
        for name in ("NPO", "GD"):
            steps = [step["terms"][name] for step in each[3 * i : 3 * i + 3]]
            assert entry["terms"][name] == pytest.approx(sum(steps) / 3, rel=1e-5)


def test_weights_that_stay_are_in_the_recipe_and_not_in_the_log(tokenizer, tmp_path):
    assert all("weights" not in entry for entry in log_of(tokenizer, tmp_path, "NPO+GD"))
