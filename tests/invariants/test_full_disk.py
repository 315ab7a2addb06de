"""Files that cannot be written to their end, as on a full disk: one line, and the run goes on later."""

import os
import resource
import subprocess
import sys

import pytest
from safetensors.torch import load_file

# Bytes that a file may have: these fail at the token ids, the reference values, the model, the optimiser's state.
LIMITS = [200, 2000, 100_000, 300_000]


def unlearn(model_folder, data, out, *more, limit=None):
    sets = ("--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    options = ("train.use_cpu=true", "train.learning_rate=1e-3", "train.num_train_epochs=2")
    words = ("unlearn", *sets, "--objective", "NPO+KL", "--out", out, "--quiet", *options, *more)

    def forbid():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "expunge", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=forbid if limit else None,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def weights(model_folder, data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    assert unlearn(model_folder, data, out).returncode == 0
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("limit", LIMITS)
def test_a_run_that_cannot_write_stops_with_a_line_and_goes_on_later(limit, model_folder, data, weights, tmp_path):
    out, work = tmp_path / "run", tmp_path / "run.unfinished"
    done = unlearn(model_folder, data, out, limit=limit)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "File too large" in done.stderr or "could not be written" in done.stderr
    assert not out.exists()
    begun = (work / "environment.json").is_file()
    assert begun == (limit > 200)
    done = unlearn(model_folder, data, out, *(["--resume"] if begun else []))
    assert (done.returncode, done.stderr) == (0, "")
    found = load_file(out / "model" / "model.safetensors")
    assert all(found[name].equal(weight) for name, weight in weights.items())


@pytest.mark.slow
def test_a_fine_tuning_that_cannot_write_leaves_nothing(model_folder, data, tmp_path):
    words = [
        "finetune",
        "--model",
        model_folder,
        "--data",
        data / "forget.jsonl",
        "--out",
        tmp_path / "model",
        "--quiet",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "expunge", *map(str, words), "train.use_cpu=true", "train.num_train_epochs=1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
