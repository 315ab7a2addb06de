"""`expunge unlearn`: what is given on the command line arrives in the run."""

import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from expunge.cli.main import app


def unlearn(model_folder, data, out, *more):
    sets = ("--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    settings = ("train.use_cpu=true", "train.num_train_epochs=1", "train.save_strategy=no")
    done = CliRunner().invoke(app, list(map(str, ("unlearn", *sets, "--out", out, "--quiet", *settings, *more))))
    assert done.exit_code == 0, done.exception
    return yaml.safe_load((out / "recipe.yaml").read_text())


def test_the_type_of_the_weights(model_folder, data, tmp_path):
    recipe = unlearn(model_folder, data, tmp_path / "run", "--dtype", "bfloat16")
    assert recipe["dtype"] == "bfloat16"
    weights = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}


def test_options_that_are_lists(model_folder, data, tmp_path):
    words = ("lora.r=2", "lora.target_modules=[q_proj, v_proj]")
    recipe = unlearn(model_folder, data, tmp_path / "run", *words)
    assert recipe["lora"]["target_modules"] == ["q_proj", "v_proj"]
    weights = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in weights} == {"q_proj", "v_proj"}
