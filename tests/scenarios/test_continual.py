"""The continual scenario: its plumbing on a model that knows nothing, and the whole of it."""

import json
import re
from dataclasses import replace
from functools import partial

import pytest

from expunge.data import load_rows
from expunge.ledger import Ledger
from expunge.scenarios import SCENARIOS, continual
from expunge.scenarios.continual import small
from expunge.worlds.corpus import write_world
from expunge.worlds.new import new_tiny
from scenarios.layouts import read_table, write_lines, write_tasks

METRICS = {
    "forget/known",
    "forget/chance",
    "forget/probability",
    "forget/rougeL_recall",
    "retain/probability",
    "retain/rougeL_recall",
}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder in which the target model is there already, with random weights."""
    write_world(tmp_path / "world", continual.PEOPLE, 50, 0)
    model, words = new_tiny(load_rows(f"{tmp_path / 'world'}:full"))
    model.save_pretrained(tmp_path / "target")
    words.save_pretrained(tmp_path / "target")
    monkeypatch.setattr(continual, "SETTINGS", {**continual.SETTINGS, "max_steps": 1})
    monkeypatch.setattr(continual, "METHODS", ("GA", "NPO, reference previous"))
    monkeypatch.setitem(SCENARIOS, "continual", replace(SCENARIOS["continual"], small=partial(small, tasks=2)))
    return tmp_path


def assert_table(out, methods, tasks):
    table = json.loads((out / "table.json").read_text())
    assert table["scenario"] == "continual"
    rows = table["rows"]
    assert {tuple(row) for row in rows} == {("method", "metric", "value", "ci95", "n", "seed")}
    expected = METRICS | {f"{metric}@{task}" for metric in METRICS for task in range(1, tasks + 1)}
    assert {(row["method"], row["metric"]) for row in rows} == {(m, metric) for m in methods for metric in expected}
    sizes = {row["metric"]: row["n"] for row in rows}
    assert [sizes[f"forget/known@{task}"] for task in range(1, tasks + 1)] == [10 * t for t in range(1, tasks + 1)]
    html = (out / "report.html").read_text()
    assert all(method in html for method in methods)
    assert html.count("<svg") == 4
    return rows


@pytest.mark.slow
def test_each_task_is_a_request_to_the_ledger_of_each_method(expunge, prepared):
    words = ["scenario", "continual", "--small", "--quiet", "--out", prepared]
    expunge(*words)
    assert_table(prepared, ["GA", "NPO, reference previous"], 2)
    drifting = Ledger(prepared / "ledgers" / "NPO-reference-previous").timeline()
    assert drifting.init["reference"] == "previous"
    assert drifting.processed == ["task-1", "task-2"]
    people = [load_rows(prepared / "requests" / f"task-{task}.jsonl") for task in (1, 2)]
    assert [len(rows) for rows in people] == [10, 10]
    assert not {row.key for row in people[0]} & {row.key for row in people[1]}
    heads = {path: Ledger(path).timeline().head for path in (prepared / "ledgers").iterdir() if path.is_dir()}
    expunge(*words)  # the same again: nothing is left to do
    assert heads == {path: Ledger(path).timeline().head for path in heads}


def test_what_there_is_not(expunge, tmp_path):
    assert "continual" in expunge("scenario", "continuous", "--small", "--out", tmp_path, code=2).err
    assert "--small" in expunge("scenario", "continual", "--out", tmp_path, code=2).err
    both = expunge("scenario", "continual", "--small", "--model", "m", "--retain", "r", "--out", tmp_path, code=2).err
    assert "--model, --retain" in both
    assert re.search(r"continual\n.*\n.*2410\.08109", expunge("scenarios").out)


@pytest.mark.slow
def test_the_full_form_takes_tasks_and_keeps_those_to_come(expunge, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(continual, "PUBLISHED", ("NPO+GD, reference previous",))
    words = ["scenario", "continual", "--model", model_folder, "--data", write_tasks(tmp_path / "tofu"), "--quiet"]
    expunge(*words, "--out", tmp_path / "out")
    found = read_table(tmp_path / "out", "continual")
    assert {(method, metric) for method, metric in found} == {
        ("NPO+GD, reference previous", metric + end) for metric in METRICS for end in ("", "@1", "@2")
    }
    assert [found["NPO+GD, reference previous", f"forget/known@{task}"]["n"] for task in (1, 2)] == [2, 4]
    assert "full form" in (tmp_path / "out" / "report.html").read_text()
    ledger = Ledger(tmp_path / "out" / "ledgers" / "NPO+GD-reference-previous")
    timeline = ledger.timeline()
    assert (timeline.init["reference"], timeline.processed) == ("previous", ["task-1", "task-2"])
    assert "author 10" in ledger.rows_of("task-1").read_text()  # by its number, not by its place in the file
    kept = [state.finished["rows"]["retain"]["rows"] for state in timeline.current]
    assert kept == [4, 2]  # two rows that must stay, and the task that is still to come
    settings = timeline.current[0].settings["train"]
    assert (settings["learning_rate"], settings["max_steps"]) == (1e-5, 1)
    assert [bool(list(path.rglob("*.safetensors"))) for path in sorted(ledger.states.iterdir())] == [False, True]


def test_tasks_without_a_number_are_refused(expunge, model_folder, tmp_path):
    words = ["scenario", "continual", "--model", model_folder, "--out", tmp_path / "out"]
    assert "--data TOFU" in expunge(*words, code=2).err
    data = write_tasks(tmp_path / "tofu")
    write_lines(data / "continual01_perturbed.json", [{"question": "q", "answer": "a"}])
    assert "row 0: 'task_id' must be the number of its task" in expunge(*words, "--data", data, code=2).err


@pytest.mark.slow
def test_the_small_form_by_its_command(expunge, tmp_path, monkeypatch):
    """Shorter than the command: two tasks of ten, and of each kind of method one. GA loses all with the second task."""
    chosen = ("GA", "ME+GD")
    monkeypatch.setattr(continual, "METHODS", chosen)
    monkeypatch.setitem(SCENARIOS, "continual", replace(SCENARIOS["continual"], small=partial(small, tasks=2)))
    expunge("scenario", "continual", "--small", "--quiet", "--out", tmp_path)
    rows = assert_table(tmp_path, chosen, 2)
    found = {(row["method"], row["metric"]): row["value"] for row in rows}
    assert found["GA", "retain/rougeL_recall"] < 0.2
    assert found["ME+GD", "retain/rougeL_recall"] > 0.9
    assert found["ME+GD", "forget/known"] < 0.5
