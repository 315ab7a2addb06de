"""Two processes give what one gives, each row measured by one of them, and one set of files."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.tiny import evaluate, tiny_model

TESTS = str(Path(__file__).parents[1])
SCRIPT = """
import sys
from evaluation.tiny import evaluate
from expunge.evaluation.passes import run
model, data, out = sys.argv[1:]
seen = []
real = run.score
def counted(model, rows, wanted, *rest):
    seen.extend(wanted)
    return real(model, rows, wanted, *rest)
run.score = counted
result = evaluate(model, data=data, out=out, device="cpu")
import json, torch.distributed as dist
print("SEEN", json.dumps([dist.get_rank(), seen, result.to_json()["metrics"]]))
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_are_one(tokenizer, folder, tmp_path) -> None:
    model = tmp_path / "model"
    tiny_model().save_pretrained(model)
    tokenizer.save_pretrained(model)
    alone = evaluate(model, data=folder, device="cpu").to_json()["metrics"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    out = tmp_path / "run" / "results.json"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(model), str(folder), str(out)],
            env=os.environ | shared | {"PYTHONPATH": TESTS} | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    reports = [json.loads(line[5:]) for text in outputs for line in text.splitlines() if line.startswith("SEEN")]
    assert sorted(rank for rank, _, _ in reports) == [0, 1]
    shares = [set(seen) for _, seen, _ in reports]
    assert all(shares)
    assert not shares[0] & shares[1]
    for metrics in (*(metrics for _, _, metrics in reports), json.loads(out.read_text())["metrics"]):
        assert metrics.keys() == alone.keys()
        for key, measured in metrics.items():
            value = alone[key]["value"]
            assert measured["value"] == (None if value is None else pytest.approx(value, rel=1e-4, abs=1e-6))
    assert sorted(p.name for p in out.parent.iterdir()) == ["results.examples.parquet", "results.json"]
