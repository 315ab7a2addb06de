"""An adapter, or the run that made one, is a model like any other: it can be unlearned in full, and fine-tuned."""

import json

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from expunge.cli.main import app
from expunge.models import fingerprint, load_model

FAST = ["train.use_cpu=true", "train.learning_rate=1e-2", "train.warmup_steps=0", "train.num_train_epochs=1"]


def expunge(*words):
    done = CliRunner().invoke(app, [*map(str, words), "--quiet", *FAST])
    assert done.exit_code == 0, done.exception or done.output


@pytest.fixture(scope="module")
def adapter(model_folder, data, tmp_path_factory):
    """A run that trained an adapter."""
    out = tmp_path_factory.mktemp("runs") / "first"
    sets = ["--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    expunge("unlearn", "--model", model_folder, *sets, "--out", out, "lora.r=2")
    return out


def test_the_evidence_names_the_target_and_not_the_adapter_on_it(adapter, model_folder):
    recorded = json.loads((adapter / "environment.json").read_text())["fingerprints"]["target_model"]
    assert recorded == fingerprint(load_model(model_folder, device="cpu")[0])


@pytest.mark.parametrize("place", ["run", "folder"])
@pytest.mark.parametrize("command", ["unlearn", "finetune"])
def test_the_merged_weights_are_trained(command, place, adapter, data, tmp_path):
    target = adapter if place == "run" else adapter / "adapter"
    before = load_model(target, device="cpu")[0].state_dict()
    out = tmp_path / "second"
    if command == "unlearn":
        sets = ["--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
        expunge("unlearn", "--model", target, *sets, "--objective", "NPO+KL", "--out", out)
    else:
        expunge("finetune", "--model", target, "--data", data / "forget.jsonl", "--out", out)
    after = load_file((out / "model" if command == "unlearn" else out) / "model.safetensors")
    moved = {name for name, value in after.items() if not value.equal(before[name])}
    assert moved == after.keys()
