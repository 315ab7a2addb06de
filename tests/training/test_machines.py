"""Two machines with a shared folder, each with a salt of its own, give what one process gives."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from training.test_machines import OBJECTIVES, unlearn

for objective in OBJECTIVES:
    unlearn(sys.argv[1], objective, 2)
torch.distributed.destroy_process_group()
"""
OBJECTIVES = ["NPO+KL", "AltPO+GD"]


def unlearn(folder, objective, batch):
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
    args = UnlearningConfig(
        output_dir=str(Path(folder) / objective),
        objective=objective,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=1,
        num_train_epochs=2,
        learning_rate=1e-3,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    model = tiny.tiny_llama(tokenizer, scale=2.0)
    UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer).train()


@pytest.mark.slow
@pytest.mark.distributed
def test_caches_of_the_first_machine_are_waited_for(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1])))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = []
    for rank in range(2):
        launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}"]
        launch += ["--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}", str(script)]
        home = {"OMP_NUM_THREADS": "1", "EXPUNGE_HOME": str(tmp_path / f"home{rank}")}
        machines.append(subprocess.Popen([*launch, str(tmp_path / "two")], env={**os.environ, **home}))
    assert [machine.wait(200) for machine in machines] == [0, 0]
    for objective in OBJECTIVES:
        unlearn(tmp_path / "one", objective, 4)
        logs = [(tmp_path / n / objective / "train_log.jsonl").read_text().splitlines() for n in ("one", "two")]
        for a, b in zip(*(map(json.loads, log) for log in logs), strict=True):
            assert a["terms"] == pytest.approx(b["terms"], rel=1e-4, abs=1e-6)
