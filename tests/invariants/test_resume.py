"""A run killed at any step and resumed ends in the same weights, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from expunge.models import load_model
from expunge.training import read_recipe, unlearn
from expunge.training.checkpoints import last_whole_checkpoint

EXPUNGE = [sys.executable, "-c", "from expunge.cli.main import main; main()"]


def command(model_folder, data, out, objective="DPO+KL", *more):
    return [
        *EXPUNGE,
        "unlearn",
        *("--model", str(model_folder), "--forget", str(data / "forget.jsonl"), "--retain", str(data / "retain.jsonl")),
        *("--idk", str(data / "idk.txt"), "--objective", objective, "--out", str(out), "--quiet"),
        *("train.learning_rate=1e-3", "train.num_train_epochs=4", "train.per_device_train_batch_size=2"),
        *(
            "train.gradient_accumulation_steps=1",
            "train.save_strategy=steps",
            "train.save_steps=2",
            "train.use_cpu=true",
        ),
        *more,
    ]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def kill_after(arguments, log, lines):
    """Run a command and kill it, hard, once its log has so many lines."""
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.time() + 120
    while process.poll() is None and time.time() < deadline:
        if log.is_file() and len(log.read_text().splitlines()) >= lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    return process.wait()


@pytest.fixture(scope="module")
def whole(model_folder, data, tmp_path_factory):
    """The run that nobody interrupts."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(command(model_folder, data, out), check=True, env=environment(), capture_output=True)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 5, 9])
def test_killed_and_resumed_equals_uninterrupted(lines, whole, model_folder, data, tmp_path):
    killed = tmp_path / "killed"
    work = tmp_path / "killed.unfinished"
    code = kill_after(command(model_folder, data, killed), work / "train_log.jsonl", lines)
    assert code == -signal.SIGKILL, "the run ended before it could be killed"
    assert not killed.exists(), "a killed run must not look finished"
    done = subprocess.run([*EXPUNGE, "unlearn", "--resume", "--quiet", "--out", str(killed)], env=environment())
    assert done.returncode == 0
    assert not work.exists()
    assert same_files(whole, killed)
    logs = [
        [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()] for run in (whole, killed)
    ]
    assert [entry["step"] for entry in logs[1]] == list(range(1, 13))
    assert [entry["terms"] for entry in logs[0]] == [entry["terms"] for entry in logs[1]]


def same_files(a: Path, b: Path) -> bool:
    first, second = (load_file(run / "model" / "model.safetensors") for run in (a, b))
    return first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    for step, whole in ((2, True), (4, True), (6, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        if whole:
            (folder / "whole").touch()
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


def test_what_a_finished_run_holds(model_folder, data, tmp_path):
    options = {
        "model": str(model_folder),
        "forget": str(data / "forget.jsonl"),
        "retain": str(data / "retain.jsonl"),
        "objective": "NPO+GD",
        "train.num_train_epochs": 1,
        "train.use_cpu": True,
    }
    out = unlearn(read_recipe(None, options), tmp_path / "run", quiet=True)
    assert sorted(p.name for p in out.iterdir()) == ["environment.json", "model", "recipe.yaml", "train_log.jsonl"]
    assert not list((out / "model").glob("*.bin"))
    again = read_recipe(out / "recipe.yaml", {})
    assert again.objective == {"name": "NPO+GD", "NPO.weight": 1.0, "NPO.beta": 0.1, "GD.weight": 1.0}
    model, _ = load_model(out)
    assert model.config.model_type == "llama"


def test_an_adapter_target_gets_a_new_adapter_and_both_count(model_folder, data, tmp_path):
    """The second adapter belongs to the first adapter's folder; loading it merges both."""
    options = {
        "forget": str(data / "forget.jsonl"),
        "retain": str(data / "retain.jsonl"),
        "objective": "NPO+GD",
        "train.num_train_epochs": 3,
        "train.learning_rate": 1e-2,
        "train.use_cpu": True,
        "lora.r": 2,
    }
    first = unlearn(read_recipe(None, {**options, "model": str(model_folder)}), tmp_path / "first", quiet=True)
    second = unlearn(read_recipe(None, {**options, "model": str(first)}), tmp_path / "second", quiet=True)
    states = [load_model(place)[0].state_dict() for place in (first, second)]
    adapter = load_file(second / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
    added = b @ a * (32 / 2)
    assert added.abs().max() > 1e-4
    torch.testing.assert_close(states[1][f"{name}.weight"] - states[0][f"{name}.weight"], added, rtol=1e-3, atol=1e-5)
