"""The whole table in two processes, one launch per backend: the weights are those of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from . import runs


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tokenizer):
    """Every objective's and setting's weights after a run in this process."""
    models, threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)  # as those that are launched: sums are rounded in the same order
    for name in runs.RUNS:
        run = runs.trainer(name, tmp_path_factory.mktemp(name), 4, 2, tokenizer=tokenizer)
        run.train()
        models[name] = {key: value.clone() for key, value in run.model.state_dict().items()}
    torch.set_num_threads(threads)
    return models


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("backend", ["ddp", "fsdp2"])
def test_two_processes_give_what_one_gives(backend, alone, tmp_path):
    tests = Path(__file__).parent.parent
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    source = os.pathsep.join((os.environ["PYTHONPATH"], str(tests)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": source}
    script = [str(tests / "objectives" / "runs.py"), str(tmp_path), backend]
    done = subprocess.run([*launch, *script], env=environment, timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    for name, expected in alone.items():
        found = load_file(tmp_path / name / "model" / "model.safetensors")
        difference = torch.cat([(found[key] - value).abs().flatten() for key, value in expected.items()])
        assert difference.max() < 1e-5, name
