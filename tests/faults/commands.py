"""The commands that are killed and find disks full, what a user does then, and what must come of it."""

import json
import random
from pathlib import Path

import pytest
from safetensors.torch import load_file

OUT = {"unlearn": "run", "finetune": "model", "eval": "results.json"}
TRAIN = ("train.use_cpu=true", "train.learning_rate=1e-3", "train.per_device_train_batch_size=2", "--quiet")
EVERY = ("train.gradient_accumulation_steps=1", "train.save_strategy=steps")
RECIPES = {
    "reference values": ("--objective", "NPO+KL", "train.num_train_epochs=2", "train.save_steps=2"),
    "adapter": (
        "--objective",
        "PDU+GD",
        "objective.eps=1.0",
        "lora.r=2",
        "train.num_train_epochs=1",
        "train.save_steps=1",
    ),
}


def some(count: int, quick: int) -> list:
    """Numbers of cases; but for the first few, slow."""
    return [pytest.param(i, marks=() if i < quick else pytest.mark.slow) for i in range(count)]


def again(forks, words, folder):
    """What a user does then: the same command again, or what it says is to be done in its place."""
    out = folder / OUT[words[0]]
    if words[0] != "eval" and out.exists():
        return
    done = forks.run([*words, "--out", out], under=folder)
    if done.code == 2 and "Continue it with --resume" in done.said:
        done = forks.run(["unlearn", "--resume", "--quiet", "--out", out], under=folder)
    assert done.code == 0, done.said
    assert "Traceback" not in done.said


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_same_weights(a: Path, b: Path):
    first, second = load_file(a), load_file(b)
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


def logged(run):
    lines = (run / "train_log.jsonl").read_text().splitlines()
    return [(entry["step"], entry["terms"]) for entry in map(json.loads, lines)]


def unlearn(model_folder, data, recipe):
    sets = ("--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    return ["unlearn", *sets, *TRAIN, *EVERY, *RECIPES[recipe]]


def assert_same_run(folder: Path, first: Path):
    """The finished run is there to the last bit, and nothing else."""
    assert names(folder) == names(first)
    for file in (first / "run").glob("*/*.safetensors"):
        assert_same_weights(file, folder / "run" / file.parent.name / file.name)
    assert logged(folder / "run") == logged(first / "run")


def moment(changes, case, kind, of=lambda change: True):
    """The number of a change, chosen by case; two cases share one only where there are fewer changes than cases."""
    numbers = [i for i, change in enumerate(changes, 1) if of(change)]
    random.Random(kind).shuffle(numbers)
    return numbers[case // len(RECIPES) % len(numbers)]


def recipe_of(case):
    return list(RECIPES)[case % len(RECIPES)]
