"""What a run in Python leaves behind is what the command leaves; and what training changed is said."""

import json
import warnings

import pytest
import torch
import yaml
from peft import LoraConfig
from safetensors.torch import load_file
from typer.testing import CliRunner

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.cli.main import app
from expunge.errors import NonFiniteLoss
from expunge.objectives import TERMS, Objective, Weighted
from expunge.training.changes import Changes

SETTINGS = {
    "learning_rate": 1e-3,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "use_cpu": True,
    "warmup_steps": 0,
}
KEPT = ["environment.json", "model", "recipe.yaml", "train_log.jsonl"]


def in_python(model_folder, data, out, objective="NPO+KL", peft_config=None, **options):
    args = UnlearningConfig(
        str(out),
        objective=objective,
        objective_options={"beta": 0.2},
        disable_tqdm=True,
        **{**SETTINGS, **options},
    )
    sets = str(data / "forget.jsonl"), str(data / "retain.jsonl")
    trainer = UnlearningTrainer(str(model_folder), args, *sets, peft_config=peft_config)
    trainer.train()
    trainer.save_model(str(out / ("adapter" if peft_config else "model")))
    return trainer


def by_command(model_folder, data, out, *more):
    words = ["unlearn", "--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    words += ["--objective", "NPO+KL", "--out", out, "--quiet", "objective.beta=0.2"]
    words += [f"train.{name}={str(value).lower()}" for name, value in SETTINGS.items()]
    done = CliRunner().invoke(app, [*map(str, words), *more])
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize("lora", [False, True])
def test_python_and_the_command_leave_the_same(lora, model_folder, data, tmp_path):
    adapter = LoraConfig(r=2, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    in_python(model_folder, data, tmp_path / "python", peft_config=adapter)
    by_command(model_folder, data, tmp_path / "command", *(["lora.r=2"] if lora else []))
    kept = [name.replace("model", "adapter") if lora else name for name in KEPT]
    for name in ("python", "command"):
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(kept)
    recipes = [yaml.safe_load((tmp_path / name / "recipe.yaml").read_text()) for name in ("python", "command")]
    assert recipes[0] == recipes[1]
    environments = [json.loads((tmp_path / name / "environment.json").read_text()) for name in ("python", "command")]
    prints = [environment["fingerprints"] for environment in environments]
    for key in ("target_model", "forget", "retain", "tokenizer", "code"):
        assert prints[0][key] == prints[1][key], key
    assert environments[0].keys() == environments[1].keys()
    assert environments[0]["losses"] == environments[1]["losses"]
    weights = "adapter/adapter_model.safetensors" if lora else "model/model.safetensors"
    a, b = (load_file(tmp_path / name / weights) for name in ("python", "command"))
    assert all(a[key].equal(b[key]) for key in a)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_recipe_of_a_run_in_python_names_the_type_of_the_weights(dtype, tokenizer, tmp_path):
    args = UnlearningConfig(str(tmp_path), objective="GA", disable_tqdm=True, **SETTINGS)
    model = tiny.tiny_llama(tokenizer).to(getattr(torch, dtype))
    assert UnlearningTrainer(model, args, tiny.FORGET, None, tokenizer).recipe.dtype == dtype


def test_a_recipe_from_python_runs_again_by_command(model_folder, data, tmp_path):
    in_python(model_folder, data, tmp_path / "python")
    words = ["unlearn", tmp_path / "python" / "recipe.yaml", "--out", tmp_path / "again", "--quiet"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.exception
    a, b = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("python", "again"))
    assert all(a[key].equal(b[key]) for key in a)


def test_rows_and_objectives_that_have_no_place_are_described(tokenizer, tmp_path):
    args = UnlearningConfig(str(tmp_path), disable_tqdm=True, **SETTINGS)
    objective = Objective("mine", (Weighted("GA", TERMS["GA"](), 0.5), Weighted("GD", TERMS["GD"]())))
    model = tiny.tiny_llama(tokenizer)
    trainer = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective)
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert (recipe["model"], recipe["forget"]) == ("given in Python", "5 rows given in Python")
    assert recipe["objective"] == {"name": "mine", "GA.weight": 0.5, "GD.weight": 1.0}


def test_checkpoints_and_caches_stay_until_the_model_is_saved(tokenizer, tmp_path):
    args = UnlearningConfig(str(tmp_path), objective="NPO+KL", disable_tqdm=True, **SETTINGS)
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer)
    trainer.train()
    assert (tmp_path / "reference" / "hidden.bin").is_file()
    assert (tmp_path / "checkpoint-2").is_dir()
    assert "steps" not in json.loads((tmp_path / "environment.json").read_text())
    trainer.save_model(str(tmp_path / "model"))
    assert sorted(path.name for path in tmp_path.iterdir()) == KEPT
    assert json.loads((tmp_path / "environment.json").read_text())["steps"] == 2


def test_the_losses_before_and_after_are_those_of_both_models(model_folder, data, tmp_path):
    from expunge.data import encode, load_rows
    from expunge.models import load_model

    in_python(model_folder, data, tmp_path)
    losses = json.loads((tmp_path / "environment.json").read_text())["losses"]
    assert (losses["forget"]["rows"], losses["retain"]["rows"]) == (5, 7)
    for when, place in (("before", model_folder), ("after", tmp_path / "model")):
        model, words = load_model(place, device="cpu")
        for name in ("forget", "retain"):
            nll = []
            for row in load_rows(str(data / f"{name}.jsonl")):
                encoded = encode(words, row)
                with torch.no_grad():
                    logp = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(-1)
                nll += [-float(logp[t - 1, encoded.ids[t]]) for t in range(encoded.start, len(encoded.ids))]
            assert losses[name][when] == pytest.approx(sum(nll) / len(nll), rel=1e-4)


@pytest.mark.parametrize(("epochs", "rows"), [(1, 8), (16, 50), (100, 50)])
def test_more_rows_are_looked_at_where_more_are_trained_on(epochs, rows, tokenizer, tmp_path):
    """Every nineteenth of 150, and every third."""
    forget = [tiny.qa(f"How old is person {i}?", f"{20 + i} years.") for i in range(150)]
    args = UnlearningConfig(
        str(tmp_path), objective="GA", disable_tqdm=True, **{**SETTINGS, "num_train_epochs": epochs}
    )
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, forget, None, tokenizer)
    looked = Changes(trainer).losses
    assert list(looked) == ["forget"]
    assert looked["forget"]["rows"] == rows


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": 1e-30}, r"changed no weight at all\. Try train\.learning_rate=1e-29"),
        ({"learning_rate": 1e-7}, r"next to nothing: the forget set's loss is .* and was .*learning_rate=1e-06"),
    ],
)
def test_a_run_that_changes_nothing_says_so(options, said, tokenizer, tmp_path):
    args = UnlearningConfig(str(tmp_path), disable_tqdm=True, **{**SETTINGS, "weight_decay": 0.0, **options})
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer)
    with pytest.warns(UserWarning, match=said):
        trainer.train()


def test_a_run_that_changes_something_does_not(tokenizer, tmp_path):
    args = UnlearningConfig(str(tmp_path), disable_tqdm=True, **SETTINGS)
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer.train()


def test_the_terminal_shows_the_losses(model_folder, data, tmp_path, capfd):
    words = ["unlearn", "--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    options = [f"train.{name}={str(value).lower()}" for name, value in SETTINGS.items()]
    done = CliRunner().invoke(app, [*map(str, words), "--out", str(tmp_path / "run"), *options])
    assert done.exit_code == 0
    losses = json.loads((tmp_path / "run" / "environment.json").read_text())["losses"]
    shown = ", ".join(f"{name} set {x['before']:.3g} -> {x['after']:.3g}" for name, x in losses.items())
    assert f"expunge: loss: {shown} nats a token" in done.stderr


def test_weights_that_are_no_longer_finite_are_never_saved(tokenizer, tmp_path, monkeypatch):
    """The last step's own update can be what breaks them: no loss is computed after it."""
    from expunge.training.steps.optimizers import AdamW

    args = UnlearningConfig(str(tmp_path), disable_tqdm=True, separate_states=True, **SETTINGS)
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer)
    step = AdamW.step

    def broken(self, closure=None):
        step(self, closure)
        if trainer.state.global_step == 1:
            self.param_groups[0]["params"][3].data[0] = float("nan")

    monkeypatch.setattr(AdamW, "step", broken)
    with pytest.raises(NonFiniteLoss, match=r"After step 2, the weight .* is no longer finite.*checkpoint-1"):
        trainer.train()
