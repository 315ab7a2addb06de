"""A ledger that is killed at any moment and run again: the same records and models, to the last bit."""

import json
import random
import signal
import time

import pytest

from expunge.ledger import Ledger
from faults.commands import assert_same_weights, names, some

KILLS, QUICK_KILLS = 60, 2  # before a change of any file
TIMED, QUICK_TIMED = 30, 1  # at a moment by the clock, also while a record is written
TRAIN = ("train.use_cpu=true", "train.learning_rate=1e-3", "train.num_train_epochs=1", "train.save_strategy=steps")
BATCH = ("train.save_steps=1", "train.per_device_train_batch_size=1", "train.gradient_accumulation_steps=1")
# Of a state's files those that hold no place and no time.
COMPARED = ("measured.json", "model/model.safetensors", "model/config.json", "model/tokenizer.json")


def request(folder, number):
    """Two rows of somebody whom nobody knows."""
    rows = [
        {"question": f"Where does person {number} live?", "answer": f"In house {number}, in Pell."},
        {"question": f"What does person {number} keep?", "answer": f"A goose called {number}."},
    ]
    file = folder / f"r{number}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def commands(folder, model, data, requests):
    """What a user gives, one after the other."""
    ledger = folder / "ledger"
    init = ["ledger", "init", ledger, "--model", model, "--retain", data / "retain.jsonl", "--objective", "NPO+GD"]
    added = [["ledger", "add", ledger, "--forget", request(folder.parent, n), "--id", f"r{n}"] for n in range(requests)]
    return [[*init, *TRAIN, *BATCH], *added, ["ledger", "run", ledger, "--quiet", "--redact"]]


def content(folder):
    """All that a ledger holds, but for places and times."""
    ledger = Ledger(folder)
    found = []
    for record in ledger.store.records():
        body = dict(record.body)
        if record.kind == "processed":
            body["files"] = {name: body["files"][name] for name in COMPARED}
        found.append((record.number, record.kind, body))
    return found


@pytest.fixture(scope="module")
def whole(forks, model_folder, data, tmp_path_factory):
    """Two requests that nobody disturbs: the ledger, what running it changed, and how many seconds that took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "a"
    folder.mkdir()
    words = prepared(forks, folder, model_folder, data, 2)
    began = time.monotonic()
    done = forks.run(words, under=folder)
    assert done.code == 0, done.said
    return folder / "ledger", done.changes, time.monotonic() - began


def assert_same_ledger(folder, first):
    assert content(folder) == content(first)
    assert names(folder) == names(first)
    for file in (first / "states").rglob("*.safetensors"):
        assert_same_weights(file, folder / file.relative_to(first))


def prepared(forks, folder, model, data, requests):
    *before, run = commands(folder, model, data, requests)
    for words in before:
        assert forks.run(words).code == 0
    return run


def again(forks, words, folder):
    done = forks.run(words)
    assert done.code == 0, done.said
    assert forks.run(["ledger", "verify", folder / "ledger"]).code == 0


@pytest.mark.slow
@pytest.mark.fault("kills of ledger run, before any change")
@pytest.mark.parametrize("case", some(KILLS, QUICK_KILLS))
def test_before_any_change_of_a_file(case, forks, whole, model_folder, data, tmp_path):
    first, changes, _ = whole
    numbers = random.Random(0).sample(range(1, len(changes) + 1), len(changes))
    words = prepared(forks, tmp_path, model_folder, data, 2)
    killed = forks.run(words, under=tmp_path, kill=numbers[case % len(numbers)])
    assert killed.killed, killed.said
    again(forks, words, tmp_path)
    assert_same_ledger(tmp_path / "ledger", first)


@pytest.mark.fault("kills of ledger run, by the clock")
@pytest.mark.parametrize("case", some(TIMED, QUICK_TIMED))
def test_at_any_time(case, forks, whole, model_folder, data, tmp_path):
    first, _, seconds = whole
    words = prepared(forks, tmp_path, model_folder, data, 2)
    done = forks.run(words, under=tmp_path, seconds=seconds * random.Random(case).uniform(0.1, 1))
    assert done.killed or done.code == 0, done.said
    again(forks, words, tmp_path)
    assert_same_ledger(tmp_path / "ledger", first)


@pytest.mark.slow
@pytest.mark.fault("SIGTERM and Ctrl-C")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_say_how_to_go_on(number, forks, whole, model_folder, data, tmp_path):
    first, changes, _ = whole
    words = prepared(forks, tmp_path, model_folder, data, 2)
    done = forks.run(words, under=tmp_path, kill=len(changes) // 3, signal=number)
    assert done.code == 130, done.said
    assert done.said == f"expunge: interrupted. Go on with: expunge ledger run {tmp_path / 'ledger'}\n"
    again(forks, words, tmp_path)
    assert_same_ledger(tmp_path / "ledger", first)


@pytest.mark.slow
@pytest.mark.fault("ten requests, with a kill in each")
def test_ten_requests_with_a_kill_at_a_random_point_in_each(forks, model_folder, data, tmp_path):
    ledgers = [tmp_path / name for name in ("undisturbed", "killed")]
    ledgers[0].mkdir()
    ledgers[1].mkdir()
    steps = [commands(folder, model_folder, data, 10) for folder in ledgers]
    for init, *_ in steps:
        assert forks.run(init).code == 0
    draw = random.Random(0)
    for first, killed in zip(*([(add, words[-1][:-1]) for add in words[1:-1]] for words in steps), strict=True):
        assert forks.run(first[0]).code == forks.run(killed[0]).code == 0
        done = forks.run(first[1], under=ledgers[0])
        assert done.code == 0, done.said
        assert forks.run(killed[1], under=ledgers[1], kill=draw.randint(1, len(done.changes))).killed
        again(forks, killed[1], ledgers[1])
    for folder, (*_, closing) in zip(ledgers, steps, strict=True):
        again(forks, closing, folder)
    assert_same_ledger(ledgers[1] / "ledger", ledgers[0] / "ledger")


@pytest.mark.fault("kills of ledger add")
@pytest.mark.parametrize("case", range(4))
def test_adding(case, forks, model_folder, data, tmp_path):
    init, add, _ = commands(tmp_path, model_folder, data, 1)
    folder = tmp_path / "ledger"
    assert forks.run(init).code == 0
    killed = forks.run(add, under=tmp_path, kill=case + 1)
    assert killed.killed, killed.said
    assert not Ledger(folder).timeline().requests
    assert forks.run(["purge", folder]).code == 0
    assert not list((folder / "requests").iterdir())
    assert forks.run(add).code == 0
    assert forks.run(["ledger", "verify", folder]).code == 0
