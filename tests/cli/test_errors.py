"""How errors become exit codes and one line, whoever raises them and in however many processes."""

import errno
import os

import pytest
import torch

from expunge.cli.launch import leave
from expunge.runs import LOCK


def raising(error):
    def read_recipe(*_):
        raise error

    return read_recipe


def wrapped(message, error):
    found = RuntimeError(message)
    found.__cause__ = error
    return found


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "full", "run/model"), "run/model: No space left on device."),
        (OSError(errno.EACCES, "denied", "run"), "run: Permission denied."),
        (RuntimeError("Error while serializing: I/O error: (os error 28)"), "No space left on device."),  # safetensors
        (RuntimeError("write: Read-only file system"), "Read-only file system."),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "A file could not be written to its end"),
        (wrapped("cannot save", OSError(errno.EDQUOT, "quota", "run")), "run: Disk quota exceeded."),
    ],
)
def test_what_a_disk_refuses_is_one_line_and_1(error, said, expunge, monkeypatch):
    monkeypatch.setattr("expunge.training.recipe.read_recipe", raising(error))
    found = expunge("validate", "recipe.yaml", code=1).err
    assert found.startswith(f"expunge: {said}")
    assert "continues with --resume" in found
    assert found.count("\n") == 1


def test_other_errors_of_files_are_2_and_bugs_keep_their_traceback(expunge, monkeypatch):
    monkeypatch.setattr("expunge.training.recipe.read_recipe", raising(FileNotFoundError(2, "No such file", "a.yaml")))
    assert expunge("validate", "recipe.yaml", code=2).err == "expunge: a.yaml: No such file.\n"
    monkeypatch.setattr("expunge.training.recipe.read_recipe", raising(wrapped("a bug", KeyError("inner"))))
    with pytest.raises(RuntimeError, match="a bug"):
        expunge("validate", "recipe.yaml")


def test_of_several_processes_the_first_one_speaks(expunge, monkeypatch, tmp_path):
    note = tmp_path / "exit"
    monkeypatch.setitem(os.environ, "EXPUNGE_EXIT_FILE", str(note))
    monkeypatch.setitem(os.environ, "RANK", "1")
    assert expunge("validate", tmp_path / "none.yaml", code=2).err == ""
    assert not note.exists()
    monkeypatch.setitem(os.environ, "RANK", "0")
    assert "none.yaml" in expunge("validate", tmp_path / "none.yaml", code=2).err
    assert note.read_text() == "2"


def test_a_launch_needs_a_number_or_a_file_that_is_there(expunge, model_folder, data, tmp_path):
    sets = ("--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    for how, said in (("gone.yaml", "no such file"), ("0", "give a number"), ("many", "give a number")):
        found = expunge("unlearn", *sets, "--out", tmp_path / "run", "--launch", how, code=2)
        assert f"--launch {how}: {said}" in found.err


def test_launched_processes_get_the_same_words_and_find_the_run_unlocked(
    expunge, model_folder, data, tmp_path, monkeypatch
):
    started = []

    def launch(how, arguments):
        started.append((how, arguments))
        assert not (tmp_path / "run.unfinished" / LOCK).exists()

    monkeypatch.setattr("expunge.cli.launch.launch", launch)
    sets = ("--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    words = list(map(str, ("unlearn", *sets, "--out", tmp_path / "run", "--quiet")))
    expunge(*words, "--launch", "2")
    expunge(*words[:-1], "--launch=2", "--quiet")
    assert started == [("2", words)] * 2


def test_leaving_no_group_of_processes_is_nothing():
    assert torch.distributed.is_available()
    leave()


def test_a_table_is_written_in_a_format_that_is_known(expunge):
    assert "t.txt: the table is written as .md" in expunge("compare", "a.json", "b.json", "--out", "t.txt", code=2).err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give either --model"),
        (("--model", "a", "--init", "tiny"), "Give either --model"),
        (("--init", "large"), "only 'tiny' is known"),
        (("--model", "a", "--tokenizer", "b"), "--tokenizer requires --init"),
        (("--init", "tiny"), "--data SPEC"),
        (("--init", "tiny", "--data", "a", "objective.beta=1"), "section train alone"),
    ],
)
def test_what_finetune_needs(words, said, expunge):
    assert said in expunge("finetune", *words, code=2).err
