"""A dry run of benchmarks/large.py and growth.py at a tiny shape: the code that tests/gpu and the figure rely on."""

import json
import math
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    """A script of benchmarks/, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module


@pytest.mark.parametrize(
    ("setting", "weight_bytes", "state_bytes"), [("full", 4, 2), ("full-bf16", 2, 8), ("qlora", None, None)]
)
def test_every_setting_trains_and_is_planned_for_what_it_holds(
    setting, weight_bytes, state_bytes, benchmark_module, monkeypatch
):
    pytest.importorskip("bitsandbytes")
    large = benchmark_module("large")
    monkeypatch.setattr(large.torch.cuda, "is_available", lambda: False)
    result = large.measure(setting, "tiny")
    assert len(result["losses"]) == large.STEPS
    assert all(math.isfinite(value) and value > 0 for value in result["losses"] + result["grad_norms"])
    planned, dims = result["planned"], large.SHAPES["tiny"][0]
    parameters = large.llama(*dims).num_parameters()
    if weight_bytes:
        assert planned["weights"] == parameters * weight_bytes
        assert planned["optimiser"] == parameters * state_bytes
        assert planned["reference"] == dims[0] * dims[-1] * weight_bytes
    else:
        assert planned["optimiser"] < parameters
        assert planned["reference"] == 0
    assert result["planned_bytes"] > sum(planned.values())
    assert result["peak_bytes"] is None
    assert "GPU" in result["reason"]


def test_lines_through_points_of_known_growth(benchmark_module):
    growth = benchmark_module("growth")
    points = [
        {"objective": name, "rows": rows, "seconds_per_step": 0.5 + 0.25 * rows, "extra_mib": 100 + extra * rows}
        for rows in (1, 2, 4)
        for name, extra in (("NPO+GD", 30), ("SimNPO+GD", 15))
    ]
    found = growth.summary(points, "rows")
    assert found["lines"]["NPO+GD"]["extra_mib"] == pytest.approx({"slope": 30, "intercept": 100, "r2": 1})
    assert found["with_over_without"][2] == {"seconds_per_step": 1.0, "extra_mib": 1.375, "rows": 4}


@pytest.mark.slow
def test_the_growth_benchmark_measures_and_draws(tmp_path):
    command = [sys.executable, BENCHMARKS / "growth.py", "--shape", "tiny"]
    command += ["--json", tmp_path / "g.json", "--figure", tmp_path / "g.svg"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    result = json.loads((tmp_path / "g.json").read_text())
    for axis in ("rows", "length"):
        assert len(result["sweeps"][axis]["points"]) == 6
        for point in result["sweeps"][axis]["points"]:
            assert point["seconds_per_step"] > 0
            assert (point["preparation_seconds"] is None) == (point["objective"] == "SimNPO+GD")
    assert "NPO+GD, with a reference model" in (tmp_path / "g.svg").read_text()
