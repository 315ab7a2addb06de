"""Killed at any moment, and started again: the same weights and numbers to the last bit, nothing lost, nothing left."""

import json
import random
import signal

import pyarrow.parquet as pq
import pytest

from faults.commands import (
    EVERY,
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

# How many of each kind; of these, so many in every run of the tests.
AIMED, QUICK_AIMED = 90, 3  # while checkpoints are written and replaced
ANYWHERE, QUICK_ANYWHERE = 60, 2  # before a change of any file
TIMED, QUICK_TIMED = 40, 1  # at a moment by the clock
EVALUATIONS, QUICK_EVALUATIONS = 50, 1
FINE_TUNINGS, QUICK_FINE_TUNINGS = 50, 1


def kill(forks, words, folder, **fault):
    """The command is killed, or ended before the clock did it."""
    done = forks.run([*words, "--out", folder / OUT[words[0]]], under=folder, **fault)
    assert done.killed or (done.code == 0 and "seconds" in fault), done.said
    assert "Traceback" not in done.said


def check_unlearning(forks, words, first, folder, **fault):
    kill(forks, words, folder, **fault)
    again(forks, words, folder)
    assert_same_run(folder, first)


@pytest.mark.fault("kills of unlearn, at checkpoints")
@pytest.mark.parametrize("case", some(AIMED, QUICK_AIMED))
def test_while_checkpoints_are_written_and_replaced(case, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, recipe_of(case))
    first, changes, _ = whole(recipe_of(case), words)
    number = moment(changes, case, "aimed", lambda change: "/checkpoint-" in change)
    check_unlearning(forks, words, first, tmp_path, kill=number)


@pytest.mark.fault("kills of unlearn, before any change")
@pytest.mark.parametrize("case", some(ANYWHERE, QUICK_ANYWHERE))
def test_before_any_change_of_a_file(case, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, recipe_of(case))
    first, changes, _ = whole(recipe_of(case), words)
    number = moment(changes, case, "anywhere", lambda change: "/checkpoint-" not in change)
    check_unlearning(forks, words, first, tmp_path, kill=number)


@pytest.mark.fault("kills of unlearn, by the clock")
@pytest.mark.parametrize("case", some(TIMED, QUICK_TIMED))
def test_at_any_time(case, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, recipe_of(case))
    first, _, seconds = whole(recipe_of(case), words)
    check_unlearning(forks, words, first, tmp_path, seconds=seconds * random.Random(case).uniform(0.3, 1))


@pytest.mark.slow
@pytest.mark.fault("kills of unlearn, twice")
@pytest.mark.parametrize("case", range(20))
def test_killed_again_while_resuming(case, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, recipe_of(case))
    first, changes, _ = whole(recipe_of(case), words)
    kill(forks, words, tmp_path, kill=moment(changes, case, "twice", lambda change: "/checkpoint-" in change))
    resume = ["unlearn", "--resume", "--quiet", "--out", tmp_path / "run"]
    done = forks.run(resume, under=tmp_path, kill=random.Random(case).randint(1, 40))
    assert done.killed or done.code in (0, 2), done.said
    again(forks, words, tmp_path)
    assert_same_run(tmp_path, first)


@pytest.mark.fault("SIGTERM and Ctrl-C")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("case", some(10, 1))
def test_signals_end_a_run_alike_and_say_what_to_do(number, case, forks, whole, model_folder, data, tmp_path):
    words = unlearn(model_folder, data, recipe_of(case))
    first, changes, _ = whole(recipe_of(case), words)
    at = moment(changes, case, "signals", lambda change: "/checkpoint-" in change)
    done = forks.run([*words, "--out", tmp_path / "run"], under=tmp_path, kill=at, signal=number)
    assert done.code == 130, done.said
    assert done.said == (
        f"expunge: interrupted. Continue with: expunge unlearn --resume --out {tmp_path / 'run'}. Or delete what there "
        f"is with: expunge purge {tmp_path / 'run'}.\n"
    )
    assert not list(tmp_path.glob("*/lock"))
    again(forks, words, tmp_path)
    assert_same_run(tmp_path, first)


def fault_of(case, changes, seconds, kind):
    """Half of the cases before a change, half by the clock."""
    if case % 2:
        return {"seconds": seconds * random.Random(case).uniform(0.2, 1)}
    return {"kill": moment(changes, case, kind)}


@pytest.mark.fault("kills of eval")
@pytest.mark.parametrize("case", some(EVALUATIONS, QUICK_EVALUATIONS))
def test_evaluations(case, forks, whole, model_folder, data, tmp_path):
    words = ["eval", "--model", model_folder, "--suite", "own", "--data", data / "forget.jsonl"]
    first, changes, seconds = whole("eval", words)
    kill(forks, words, tmp_path, **fault_of(case, changes, seconds, "eval"))
    again(forks, words, tmp_path)
    assert not list(tmp_path.glob("*.parts"))
    found, expected = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path, first))
    assert found == expected
    tables = [pq.read_table(folder / "results.examples.parquet") for folder in (tmp_path, first)]
    assert tables[0].equals(tables[1])


@pytest.mark.fault("kills of finetune")
@pytest.mark.parametrize("case", some(FINE_TUNINGS, QUICK_FINE_TUNINGS))
def test_fine_tuning(case, forks, whole, model_folder, data, tmp_path):
    rows = data / "forget.jsonl"
    words = ["finetune", "--model", model_folder, "--data", rows, *TRAIN, *EVERY]
    words += ["train.num_train_epochs=2", "train.save_steps=2"]
    first, changes, seconds = whole("finetune", words)
    kill(forks, words, tmp_path, **fault_of(case, changes, seconds, "finetune"))
    left = [file for file in tmp_path.rglob("*") if file.is_file() and file.parent != tmp_path / "model"]
    texts = [answer.encode() for answer in json_column(rows, "answer") if len(answer) > 10]
    assert not [file for file in left if any(text in file.read_bytes() for text in texts)]
    again(forks, words, tmp_path)
    assert names(tmp_path / "model") == names(first / "model")
    assert_same_weights(first / "model" / "model.safetensors", tmp_path / "model" / "model.safetensors")
    purged = forks.run(["purge", tmp_path / "model"])
    assert purged.code == 0, purged.said
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def json_column(file, column):
    return [json.loads(line)[column] for line in file.read_text().splitlines()]
