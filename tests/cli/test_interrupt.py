"""Ctrl-C and SIGTERM end a command alike and say what to do next; purge finds what a kill left."""

import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from expunge.cli.purge import purge

EXPUNGE = [sys.executable, "-m", "expunge"]
ROWS = ("forget.jsonl", "retain.jsonl")


def start(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*EXPUNGE, *map(str, words)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def stop(process, number, ready):
    """Send a signal once `ready` says so; exit code and standard error."""
    deadline = time.time() + 120
    while process.poll() is None and time.time() < deadline and not ready():
        time.sleep(0.005)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    return process.returncode, error


def unlearn(model_folder, data, out, *more):
    sets = [word for option, name in zip(("--forget", "--retain"), ROWS, strict=True) for word in (option, data / name)]
    words = ["unlearn", "--model", model_folder, *sets, "--out", out, "--quiet", "train.use_cpu=true"]
    return [*words, "train.num_train_epochs=400", "train.learning_rate=1e-4", *more]


def lines(file):
    return len(file.read_text().splitlines()) if file.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_say_how_to_go_on(number, model_folder, data, tmp_path):
    out, work = tmp_path / "run", tmp_path / "run.unfinished"
    code, error = stop(start(*unlearn(model_folder, data, out)), number, lambda: lines(work / "train_log.jsonl") > 3)
    assert code == 130
    assert error == (
        f"expunge: interrupted. Continue with: expunge unlearn --resume --out {out}. Or delete what there is with: "
        f"expunge purge {out}.\n"
    )
    assert not list(work.rglob("*.tmp"))
    assert not (work / "lock").exists()
    purge([out], dry_run=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.distributed
def test_a_launched_run_is_stopped_with_all_its_processes(model_folder, data, tmp_path):
    import psutil

    out, work = tmp_path / "run", tmp_path / "run.unfinished"
    process = start(*unlearn(model_folder, data, out, "--launch", "2"))
    code, error = stop(process, signal.SIGTERM, lambda: lines(work / "train_log.jsonl") > 3)
    assert code == 130
    assert error.count("Continue with: expunge unlearn --resume") == 1
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(out) in (p.info["cmdline"] or [])]


def finetune(model_folder, data, out, *more):
    words = ["finetune", "--model", model_folder, "--data", data / "forget.jsonl", "--out", out, "--quiet"]
    return [*words, "train.use_cpu=true", "train.num_train_epochs=400", *more]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_finetune_leaves_no_rows_and_purge_finds_the_rest(number, model_folder, data, tmp_path, capsys):
    out = tmp_path / "model"

    def ready():
        return any(lines(log) > 3 for log in tmp_path.glob(".model.*.tmp/work/train_log.jsonl"))

    code, _ = stop(start(*finetune(model_folder, data, out, "train.save_strategy=epoch")), number, ready)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    if number == signal.SIGTERM:
        assert code == 130
        assert not left
        return
    assert left
    assert not [path for path in left if "reference" in path.parts or path.name.startswith("tokens")]
    assert not any(
        b"Ada" in path.read_bytes() for path in left if path.suffix != ".json" or "tokenizer" not in path.name
    )
    purge([out], dry_run=True)
    assert "would delete" in capsys.readouterr().out
    purge([out], dry_run=False)
    assert not list(tmp_path.iterdir())


def test_fine_tuning_is_what_it_was(model_folder, data, tmp_path):
    """Without rows on disk the weights are the same."""
    from typer.testing import CliRunner

    from expunge.cli.main import app

    for name in ("a", "b"):
        words = finetune(model_folder, data, tmp_path / name, "train.num_train_epochs=2")
        assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(a[key].equal(b[key]) for key in a)
    assert sorted(p.name for p in (tmp_path / "a").iterdir() if p.suffix == ".jsonl") == ["train_log.jsonl"]
