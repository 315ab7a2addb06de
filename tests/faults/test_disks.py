"""Disks that are full: one line, exit code 1, and the command ends as if nothing had been, once there is room."""

import random
import subprocess

import pytest

from faults.commands import (
    OUT,
    TRAIN,
    again,
    assert_same_run,
    assert_same_weights,
    moment,
    names,
    recipe_of,
    some,
    unlearn,
)

FULL, QUICK_FULL = 40, 3  # no room from a change on
SMALL = 24  # a file system of so many kilobytes, where one may be mounted
LIMITS = [200, 2000, 30_000, 100_000, 150_000, 300_000]  # bytes a file may have
ROOM = 4000  # kilobytes, enough for any of it


def stopped(done):
    """One line, and exit code 1."""
    assert done.code == 1, done.said
    assert done.lines == 1, done.said
    assert "No space left" in done.said or "too large" in done.said or "could not be written" in done.said


def same(forks, words, first, folder):
    """The command again; then everything is there, and nothing else."""
    again(forks, words, folder)
    assert_same_run(folder, first)


@pytest.mark.fault("full disks, from a change on")
@pytest.mark.parametrize("case", some(FULL, QUICK_FULL))
def test_no_room_from_a_change_on(case, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, recipe_of(case))
    first, changes, _ = whole(recipe_of(case), words)
    takes_room = ("open", "os.mkdir", "os.rename")
    full = moment(changes, case, "full", lambda change: change.startswith(takes_room))
    stopped(forks.run([*words, "--out", tmp_path / "run"], under=tmp_path, full=full))
    same(forks, words, first, tmp_path)


@pytest.fixture
def small(tmp_path):
    """A file system of so many kilobytes, which can be made larger."""

    def mount(kilobytes, options=""):
        words = ["mount", "-t", "tmpfs", "-o", f"{options}size={kilobytes}k", "tmpfs", str(tmp_path)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system may be mounted here ({done.stderr.strip()})")

    yield mount
    subprocess.run(["umount", "--lazy", str(tmp_path)], capture_output=True)


@pytest.mark.slow
@pytest.mark.fault("full disks, small file systems")
@pytest.mark.parametrize("case", range(SMALL))
def test_a_small_file_system(case, forks, whole, model_folder, data, tmp_path, small):
    words = unlearn(model_folder, data, recipe_of(case))
    first, _, _ = whole(recipe_of(case), words)
    small(random.Random(case).randint(8, 500))
    done = forks.run([*words, "--out", tmp_path / "run"], under=tmp_path)
    if done.code != 0:
        stopped(done)
        small(ROOM, "remount,")
    same(forks, words, first, tmp_path)


@pytest.mark.fault("full disks, limits of files")
@pytest.mark.parametrize("limit", [pytest.param(limit, marks=pytest.mark.slow) for limit in LIMITS])
def test_files_that_may_not_grow(limit, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, "reference values")
    first, _, _ = whole("reference values", words)
    stopped(forks.run([*words, "--out", tmp_path / "run"], under=tmp_path, limit=limit))
    same(forks, words, first, tmp_path)


@pytest.mark.fault("full disks, eval and finetune")
@pytest.mark.parametrize("command", ["eval", "finetune"])
@pytest.mark.parametrize("case", some(10, 1))
def test_other_commands(command, case, forks, whole, model_folder, data, tmp_path):
    rows = data / "forget.jsonl"
    words = {
        "eval": ["eval", "--model", model_folder, "--suite", "own", "--data", rows],
        "finetune": ["finetune", "--model", model_folder, "--data", rows, *TRAIN, "train.num_train_epochs=1"],
    }[command]
    first, changes, _ = whole(f"full {command}", words)
    full = moment(changes, case, command, lambda change: change.startswith(("open", "os.mkdir", "os.rename")))
    done = forks.run([*words, "--out", tmp_path / OUT[command]], under=tmp_path, full=full)
    if done.code == 0:  # the last thing an evaluation does is to remove something
        assert command == "eval"
    else:
        assert done.code == 1, done.said
        assert done.said.splitlines()[-1].startswith("expunge: ")
        assert "No space left" in done.said
    assert "Traceback" not in done.said
    if command == "finetune":
        assert not list(tmp_path.iterdir())
    again(forks, words, tmp_path)
    if command == "eval":
        assert (tmp_path / "results.json").read_bytes() == (first / "results.json").read_bytes()
    else:
        assert_same_weights(first / "model" / "model.safetensors", tmp_path / "model" / "model.safetensors")
    assert names(tmp_path) == names(first)
