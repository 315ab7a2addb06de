"""Modes: whatever is written follows the umask; the salt of digests is nobody else's, at no moment."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

import tinymodels as tiny
from expunge.cli.main import main
from expunge.errors import InputError
from expunge.files import whole_file, whole_folder
from expunge.models import fingerprint_rows
from thinned import thinned


@pytest.fixture
def masked():
    """Sets the umask until the test is over."""
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def expunge(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
    with contextlib.suppress(SystemExit):
        main()


@pytest.mark.parametrize("umask", thinned([0o027, 0o077, 0o002], 0o027))
def test_everything_that_is_written_follows_the_umask(umask, masked, model_folder, data, tmp_path, monkeypatch):
    masked(umask)
    short = ["train.num_train_epochs=1", "train.use_cpu=true"]
    forget, home = data / "forget.jsonl", tmp_path / "written"
    run = home / "run"
    unlearn = ["unlearn", "--model", model_folder, "--forget", forget, "--retain", data / "retain.jsonl", "--quiet"]
    expunge(
        monkeypatch, *unlearn, "--objective", "NPO+KL", "--out", run, "--system", "", "--date", "2025-04-10", *short
    )
    expunge(monkeypatch, *unlearn, "--objective", "AltPO+GD", "--out", home / "lora", "lora.r=2", *short)
    tune = ["finetune", "--model", model_folder, "--data", forget, "--quiet", "--out", home / "tuned"]
    expunge(monkeypatch, *tune, *short)
    ask = ["eval", "--model", run, "--suite", "own", "--data", forget, "--out", run / "results.json", "--device", "cpu"]
    expunge(monkeypatch, *ask, "--target-model", model_folder)
    expunge(monkeypatch, "report", run, "--out", home / "report.html")
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if mode(path) != 0o666 & ~umask]
    folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
    assert not [path for path in folders if mode(path) != 0o777 & ~umask]


def test_checkpoints_and_caches_of_a_run_under_way_follow_it_too(masked, model_folder, data, tmp_path, monkeypatch):
    masked(0o027)
    work = tmp_path / "run.unfinished"
    broken = ["train.learning_rate=1e30", "train.save_strategy=steps", "train.save_steps=1", "train.warmup_steps=2"]
    small = ["train.per_device_train_batch_size=1", "train.gradient_accumulation_steps=1", "train.max_grad_norm=0"]
    unlearn = ["unlearn", "--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    words = [*broken, *small, "train.lr_scheduler_type=constant_with_warmup", "train.use_cpu=true", "--quiet"]
    expunge(monkeypatch, *unlearn, "--objective", "NPO+KL", "--out", tmp_path / "run", *words)
    files = [path for path in work.rglob("*") if path.is_file()]
    assert {"model.safetensors", "tokens.safetensors", "hidden.bin"} <= {path.name for path in files}
    assert not [path for path in files if mode(path) != 0o640]


def test_files_under_way_follow_the_umask_too(masked, tmp_path):
    masked(0o027)
    with whole_file(tmp_path / "a") as part:
        assert mode(part) == 0o640
    with whole_folder(tmp_path / "b") as part:
        assert mode(part) == 0o750
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o640, 0o750)


def test_a_file_that_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(IsADirectoryError), whole_file(tmp_path / "a") as part:
        part.parent.write_text("new")
    with pytest.raises(IsADirectoryError), whole_folder(tmp_path / "b") as part:
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_the_salt_is_never_readable_by_others(masked, tmp_path, monkeypatch):
    masked(0)
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "home"))
    opened, moments = os.open, []

    def watched(path, flags, mode=0o777, **options):
        handle = opened(path, flags, mode, **options)
        if flags & os.O_CREAT and "salt" in str(path):
            moments.append(stat.S_IMODE(os.fstat(handle).st_mode))
        return handle

    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(Path, "chmod", lambda path, mode: moments.append(mode))
    first = fingerprint_rows(tiny.FORGET)
    assert set(moments) == {0o600}
    assert mode(tmp_path / "home" / "salt") == 0o600
    assert fingerprint_rows(tiny.FORGET) == first
    (tmp_path / "home" / "salt").write_bytes(b"")
    with pytest.raises(InputError, match=r"home/salt: not the 32 secret bytes"):
        fingerprint_rows(tiny.FORGET)
