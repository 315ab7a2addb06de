"""The benchmark runs, both sides have the same numbers, and its output has the agreed layout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.tiny import tiny_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "eval.py"


@pytest.mark.slow
def test_both_sides_agree(tokenizer, folder, tmp_path) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    out = tmp_path / "out.json"
    command = [sys.executable, SCRIPT, "--model", tmp_path / "model", "--data", folder, "--json", out]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    report = json.loads(out.read_text())
    assert [row["stage"] for row in report["rows"]] == ["scoring", "generation"]
    assert all(set(row) == {"stage", "seconds", "plain_seconds", "speedup", "forward_share"} for row in report["rows"])
    assert report["largest_relative_difference"] < 1e-4
    assert report["same_answers"] == 1.0
    assert report["scored"] < report["asked"]
