"""Two processes give what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from .test_batches import OBJECTIVES, train, weights
from .test_resume import command

SCRIPT = """
import sys, torch
sys.path[:0] = [{tests!r}, {invariants!r}]
from pathlib import Path
import tinymodels as tiny
from test_batches import train, weights
out = Path(sys.argv[1])
for objective in sys.argv[2:]:
    trainer, _ = train(tiny.tiny_tokenizer(tiny.TEXTS), out / objective, objective, 2, 2)
    if trainer.is_world_process_zero():
        torch.save(weights(trainer), out / objective / "weights.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.distributed
def test_ddp_with_two_processes_equals_one(tokenizer, tmp_path):
    here = Path(__file__).parent
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(here.parent), invariants=str(here)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, str(tmp_path / "two"), *OBJECTIVES], check=True, env=environment, timeout=300)
    for objective in OBJECTIVES:
        one, log = train(tokenizer, tmp_path / "one" / objective, objective, 8, 1)
        two = torch.load(tmp_path / "two" / objective / "weights.pt")
        torch.testing.assert_close(two, weights(one), rtol=0, atol=1e-4)
        lines = (tmp_path / "two" / objective / "train_log.jsonl").read_text().splitlines()
        for a, b in zip(log, map(json.loads, lines), strict=True):
            assert a["terms"] == pytest.approx(b["terms"], rel=1e-4, abs=1e-6)
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


RESUMED = """
import sys, torch
sys.path[:0] = [{tests!r}, {invariants!r}]
from pathlib import Path
import tinymodels as tiny
from killed import copy_killed
from test_batches import train, weights
out = Path(sys.argv[1])
saving = dict(save_strategy="steps", save_steps=1, save_total_limit=None)
for name in ("whole", "killed"):
    trainer, _ = train(tiny.tiny_tokenizer(tiny.TEXTS), out / name, "RESET", 2, 2, 3, resume=name == "killed", **saving)
    torch.save((trainer.control_levels.means, weights(trainer)), out / f"{{name}}{{trainer.args.process_index}}.pt")
    if name == "whole" and trainer.is_world_process_zero():
        copy_killed(out / "whole", out / "killed", 5)  # the first step of the third epoch was the last
    torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_take_the_same_level_from_holdout_rows_and_resume_with_it(tokenizer, tmp_path):
    here = Path(__file__).parent
    script = tmp_path / "run.py"
    script.write_text(RESUMED.format(tests=str(here.parent), invariants=str(here)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, str(tmp_path)], check=True, env=environment, timeout=300)
    one, _ = train(tokenizer, tmp_path / "one", "RESET", 8, 1, 3)
    assert len(set(one.control_levels.means)) == 2, "none in the first epoch, and taken anew for the third"
    found = [torch.load(tmp_path / f"{name}{process}.pt") for name in ("whole", "killed") for process in (0, 1)]
    for levels, values in found:
        assert levels == found[0][0]
        assert levels == pytest.approx(one.control_levels.means, abs=2e-3)
        torch.testing.assert_close(values, weights(one), rtol=0, atol=1e-4)
    assert torch.equal(found[0][1], found[2][1]), "the resumed run ends with the same weights"


@pytest.mark.slow
@pytest.mark.distributed
def test_launch_gives_one_model_and_the_exit_codes_of_one_process(model_folder, data, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def unlearn(out, *more):
        words = command(model_folder, data, tmp_path / out, "NPO+KL", "train.save_strategy=no", *more)
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)

    one, two = unlearn("one"), unlearn("two", "--launch", "2", "train.per_device_train_batch_size=1")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    states = [load_file(tmp_path / out / "model" / "model.safetensors") for out in ("one", "two")]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-4)
    assert json.loads((tmp_path / "two" / "environment.json").read_text())["processes"] == 2
    stopped = unlearn("three", "--launch", "2", "train.learning_rate=1e30", "train.max_grad_norm=0")
    assert stopped.returncode == 3, stopped.stderr
    assert stopped.stderr.count("no longer finite") == 1
    assert not (tmp_path / "three").exists()
