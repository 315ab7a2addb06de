"""What a user sees when files are missing, cut short, or do not belong together."""

import math
from dataclasses import replace

import pytest

from expunge.errors import InputError
from expunge.report import load_comparison
from signed import change as change_json


def test_a_run_folder_brings_target_and_retain_model(make_run):
    comparison = load_comparison([make_run(objective="IDK+AP")])
    assert [model.name for model in comparison.models] == ["target", "retain model", "IDK+AP"]
    run = comparison.runs[0]
    assert run.metric("forget/fact_accuracy").n == 40
    assert run.metric("forget/entailment") is None
    assert run.summary("model_utility").n == 160
    assert run.summary("forget_quality").n == 40
    assert len(run.examples) == 200
    assert len(run.steps) == 60
    assert not run.missing


def test_a_results_file_with_another_name_finds_its_companions(tmp_path, make_results):
    make_results(tmp_path / "npo.json")
    make_results(tmp_path / "npo.retain.json", fingerprint="weights-r")
    comparison = load_comparison([tmp_path / "npo.json"])
    assert [model.name for model in comparison.models] == ["retain model", "npo"]
    assert set(comparison.runs[0].missing) == {"recipe.yaml", "train_log.jsonl", "environment.json"}


def test_explicit_target_and_retain_results_win(tmp_path, make_run, make_results):
    given = make_results(tmp_path / "other" / "results.json", fingerprint="weights-given")
    comparison = load_comparison([make_run()], target=given, retain=given.parent)
    assert comparison.target.results.model.fingerprint == "weights-given"
    assert comparison.retain.results.model.fingerprint == "weights-given"


def test_runs_of_one_objective_are_told_apart(make_run):
    comparison = load_comparison([make_run("low"), make_run("high"), make_run("ga", objective="GA+GD")])
    assert [run.name for run in comparison.runs] == ["NPO+GD (low)", "NPO+GD (high)", "GA+GD"]


def broken(run, name, edit):
    path = run / name
    path.write_bytes(edit(path.read_bytes()))


def edit_json(run, **changes):
    change_json(run / "results.json", lambda content: content.update(changes))


CASES = {
    "truncated results": (lambda run: broken(run, "results.json", lambda b: b[:900]), "results.json: not whole JSON"),
    "empty results": (lambda run: broken(run, "results.json", lambda b: b""), "results.json: not whole JSON"),
    "no text": (lambda run: broken(run, "results.json", lambda b: b"\xff\xfe\x00"), "utf-8"),
    "a list": (lambda run: broken(run, "results.json", lambda b: b"[1]"), "holds a list"),
    "other schema": (lambda run: edit_json(run, schema=2), "has schema 2; this version reads results of schema 1"),
    "no metrics": (lambda run: edit_json(run, metrics=None), "'metrics'"),
    "not a number": (
        lambda run: edit_json(run, metrics={"forget/probability": {"value": "high", "better": "lower"}}),
        "'metrics.forget/probability.value'",
    ),
    "infinite": (
        lambda run: edit_json(run, metrics={"forget/probability": {"value": math.inf, "better": "lower"}}),
        "finite",
    ),
    "null without reason": (
        lambda run: edit_json(run, metrics={"forget/probability": {"value": None, "better": "lower"}}),
        "null without a reason",
    ),
    "metric without set": (
        lambda run: edit_json(run, metrics={"probability": {"value": 1, "better": "lower"}}),
        "not named <set>/<metric>",
    ),
    "truncated table": (
        lambda run: broken(run, "results.examples.parquet", lambda b: b[: len(b) // 2]),
        "not a whole table of examples",
    ),
    "truncated log": (lambda run: broken(run, "train_log.jsonl", lambda b: b[:-30]), "train_log.jsonl, line 60"),
    "broken recipe": (lambda run: broken(run, "recipe.yaml", lambda b: b"a: [1"), "recipe.yaml is not valid YAML"),
    "empty recipe": (lambda run: broken(run, "recipe.yaml", lambda b: b""), "recipe.yaml is empty"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_broken_file_is_named_with_what_is_wrong(make_run, case):
    damage, message = CASES[case]
    run = make_run()
    damage(run)
    with pytest.raises(InputError) as error:
        load_comparison([run])
    assert message in str(error.value)


def test_missing_folders_and_unmeasured_runs_say_what_to_do(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_comparison([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="expunge eval"):
        load_comparison([tmp_path])
    with pytest.raises(InputError, match="No run given"):
        load_comparison([])


def test_runs_measured_on_different_rows_are_not_compared(make_run):
    with pytest.raises(InputError, match="different rows of the set 'forget'"):
        load_comparison([make_run("a"), make_run("b", data_fingerprint="rows-1", target=False, retain=False)])


@pytest.mark.parametrize("name", ["forget", "retain", "world_facts"])
def test_one_set_of_other_rows_is_enough(make_run, change, name):
    run = make_run()

    def other_rows(results):
        results.data.sets[name] = replace(results.data.sets[name], fingerprint="rows-1")

    change(run / "results.retain.json", other_rows)
    with pytest.raises(InputError, match=f"different rows of the set '{name}'"):
        load_comparison([run])


def test_runs_measured_by_different_suites_are_not_compared(make_run, change):
    second = make_run("b", target=False, retain=False)
    change(second / "results.json", lambda results: replace(results, suite="closer_look"))
    with pytest.raises(InputError, match="'closer_look'"):
        load_comparison([make_run("a"), second])


def test_runs_beside_different_retain_models_are_not_compared(make_run, make_results):
    first, second = make_run("a"), make_run("b")
    make_results(second / "results.retain.json", fingerprint="another")
    with pytest.raises(InputError, match="different retain models"):
        load_comparison([first, second])
    assert len(load_comparison([first, second], retain=first / "results.retain.json").runs) == 2


def test_runs_of_one_objective_are_told_apart_by_folder_and_then_by_number(make_run):
    runs = [make_run("a/run"), make_run("b/run"), make_run("other"), make_run("ours", objective="ME+GD")]
    names = [run.name for run in load_comparison(runs).runs]
    assert names == ["NPO+GD (run) #1", "NPO+GD (run) #2", "NPO+GD (other)", "ME+GD"]
