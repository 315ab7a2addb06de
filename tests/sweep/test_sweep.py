"""`expunge sweep`: one table, whatever workers take part, are killed or start again."""

import os
import signal
import statistics
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

from expunge.evaluation import load_results
from expunge.sweep import Run
from expunge.sweep.study import Outcome
from expunge.sweep.table import lines, write_tables
from expunge.training import Recipe

WILD = {"learning_rate": 1e30, "max_grad_norm": 0, "stop_at_chance": False}
DIVERGING = {"name": "too much", "objective": "GA+GD", "train": WILD}
NUMBERS = ("retain_utility", "forget/probability", "retain/probability")


def values_of(rows):
    """The measured numbers of each run, to the last digit; not what it took, nor what was computed twice."""
    cost = ("seconds", "flops", "flops_tokens", "unlearn_seconds", "unlearn_peak_mib")
    return {row["run"]: {k: v for k, v in row.items() if k not in cost} for row in rows}


@pytest.fixture
def passes(monkeypatch):
    """Counts the models that were measured."""
    from expunge.evaluation import measure

    seen, real = [], measure._measured
    monkeypatch.setattr(measure, "_measured", lambda *given: seen.append(given[4]) or real(*given))
    return seen


@pytest.mark.slow
def test_the_table_has_mean_spread_and_n_over_seeds_and_failures_with_their_reason(
    expunge, sweep_file, rows_of, tmp_path, passes, model_folder
):
    impossible = {"objective": "NPO+GD", "retain": "nowhere.jsonl"}
    file = sweep_file(runs=[DIVERGING, impossible], retain_model=str(model_folder))
    out = tmp_path / "out"
    printed = expunge("sweep", file, "--out", out, code=4).out
    runs, table = rows_of(out / "sweep.runs.csv"), rows_of(out / "sweep.csv")
    assert [row["name"] for row in table[:4]] == ["target", "retain", "NPO+GD", "IDK+GD"]
    assert len(passes) == 2 + 4  # target and retain model once
    for line in table[2:4]:
        mine = [row for row in runs if row["name"] == line["name"]]
        assert {row["status"] for row in mine} == {"done"}
        for name in NUMBERS:
            values = [float(row[name]) for row in mine]
            assert len(set(values)) == 2  # or the spread below is shown for nothing
            assert float(line[name]) == pytest.approx(statistics.mean(values), rel=1e-12)
            assert float(line[f"{name}_std"]) == pytest.approx(statistics.stdev(values), rel=1e-12)
            assert line[f"{name}_n"] == "2"
        assert 0 < float(mine[0]["unlearn_seconds"]) < float(mine[0]["seconds"])
        if sys.platform == "linux":
            assert float(mine[0]["unlearn_peak_mib"]) > 100  # Python and torch alone take more
    stored = load_results(out / "runs" / "NPO+GD-seed1" / "results.json")
    [row] = [row for row in runs if row["run"] == "NPO+GD-seed1"]
    assert float(row["retain_utility"]) == stored.summary.values["retain_utility"]
    failed = {row["run"]: (row["status"], row["reason"]) for row in runs if row["status"] != "done"}
    assert [status for status, _ in failed.values()] == ["diverged", "failed"] * 2
    assert "no longer finite" in failed["too_much-seed0"][1]
    assert "nowhere.jsonl" in failed["NPO+GD_retain=nowhere.jsonl-seed1"][1]
    assert table[4]["diverged"] == table[5]["failed"] == "2"
    assert "no longer finite" in printed
    assert "nowhere.jsonl" in printed
    parquet = pyarrow.parquet.read_table(out / "sweep.parquet").to_pylist()
    assert [row["retain_utility"] for row in parquet[:4]] == [float(row["retain_utility"]) for row in table[:4]]
    assert not list((out / "runs").rglob("*.safetensors"))
    assert not list((out / "runs").glob("*.unfinished"))


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_a_seed_may_be_added(expunge, sweep_file, rows_of, tmp_path, passes):
    out = tmp_path / "out"
    expunge("sweep", sweep_file(seeds=[0]), "--out", out)
    before = (out / "sweep.runs.csv").read_bytes()
    expunge("sweep", sweep_file(seeds=[0]), "--out", out)
    assert (out / "sweep.runs.csv").read_bytes() == before
    assert len(passes) == 1 + 2
    expunge("sweep", sweep_file(seeds=[0, 1]), "--out", out)
    assert len(passes) == 1 + 4
    assert [row["runs"] for row in rows_of(out / "sweep.csv")] == ["1", "2", "2"]
    refused = expunge("sweep", sweep_file(seeds=[0], train={"use_cpu": True}), "--out", out, code=2).err
    assert "NPO+GD-seed0, which has other settings" in refused


@pytest.mark.slow
def test_a_failed_run_is_tried_again_and_a_diverged_one_is_not(expunge, sweep_file, rows_of, tmp_path, data, passes):
    missing, out = tmp_path / "late.jsonl", tmp_path / "out"
    file = sweep_file(objectives=None, runs=[{"objective": "GA+GD", "retain": str(missing)}, DIVERGING], seeds=[0])
    expunge("sweep", file, "--out", out, code=4)
    missing.write_bytes((data / "retain.jsonl").read_bytes())
    printed = expunge("sweep", file, "--out", out, code=4).out
    assert [row["status"] for row in rows_of(out / "sweep.runs.csv")] == ["done", "diverged"]
    assert "too_much-seed0: diverged" not in printed


def test_weights_are_kept_if_asked_for(expunge, sweep_file, tmp_path):
    out = tmp_path / "out"
    expunge("sweep", sweep_file(objectives=["NPO+GD"], seeds=[0], keep="weights"), "--out", out)
    assert (out / "runs" / "NPO+GD-seed0" / "model" / "model.safetensors").is_file()


def test_a_folder_with_other_things_is_left_alone(expunge, sweep_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert "something else than a sweep" in expunge("sweep", sweep_file(), "--out", tmp_path / "out", code=2).err


def test_a_storage_that_cannot_be_opened_is_named(expunge, sweep_file, tmp_path):
    words = ["sweep", sweep_file(), "--out", tmp_path / "out", "--storage", "oracle9://nowhere/x"]
    assert "--storage oracle9://nowhere/x" in expunge(*words, code=2).err


@pytest.mark.slow
def test_attacks_are_in_the_table(expunge, sweep_file, rows_of, tmp_path):
    out = tmp_path / "out"
    expunge("sweep", sweep_file(objectives=["NPO+GD"], seeds=[0], attacks=["relearn"], quick=True), "--out", out)
    target, method = rows_of(out / "sweep.csv")
    key = "relearn/steps=30 rate=0.001 on=forget/probability"
    assert float(target[key]) > 0
    assert float(method[key]) > 0
    tried = [float(v) for k, v in method.items() if k.startswith("relearn/steps") and k.endswith("/probability")]
    assert float(method["relearn/strongest/probability"]) == max(tried)


def command(file, out, *more):
    return [sys.executable, "-m", "expunge", "sweep", str(file), "--out", str(out), "--quiet", *map(str, more)]


def started(file, out, *more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command(file, out, *more), env=environment, **streams)


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_and_killed_continues_to_the_same_numbers(sweep_file, rows_of, tmp_path):
    train = {"num_train_epochs": 30, "gradient_accumulation_steps": 1, "use_cpu": True}
    file = sweep_file(seeds=[0], train=train, objectives=["NPO+KL", "NPO+GD"])
    assert started(file, tmp_path / "whole").wait(300) == 0
    out = tmp_path / "killed"
    for name, end, code in (("NPO+KL-seed0", signal.SIGINT, 130), ("NPO+GD-seed0", signal.SIGKILL, -9)):
        process, until = started(file, out), time.monotonic() + 120
        under_way = out / "runs" / f"{name}.unfinished"
        while not list(under_way.glob("checkpoint-*/whole")):  # until it is in the middle of its training
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(end)
        assert process.wait(60) == code
        assert under_way.is_dir()
    assert started(file, out).wait(300) == 0
    assert values_of(rows_of(out / "sweep.runs.csv")) == values_of(rows_of(tmp_path / "whole" / "sweep.runs.csv"))


@pytest.mark.slow
def test_several_workers_share_one_study_and_get_the_same_numbers(sweep_file, rows_of, tmp_path):
    file, journal = sweep_file(), tmp_path / "study.log"
    assert started(file, tmp_path / "one").wait(300) == 0
    both = [started(file, tmp_path / "many", "--workers", n, "--storage", journal) for n in (2, 1)]
    assert [process.wait(300) for process in both] == [0, 0]
    one, many = (rows_of(tmp_path / name / "sweep.runs.csv") for name in ("one", "many"))
    assert values_of(one) == values_of(many)
    assert all(row["status"] == "done" for row in many)
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    study = optuna.load_study(study_name="sweep", storage=JournalStorage(JournalFileBackend(str(journal))))
    assert sorted(t.user_attrs["run"] for t in study.trials if "run" in t.user_attrs) == sorted(r["run"] for r in many)


def test_a_count_of_rows_does_not_hide_the_count_of_seeds(tmp_path, rows_of):
    numbers = {"forget_quality": 0.5, "forget_quality_n": 40.0}
    recipe = Recipe(model="m", forget="f.jsonl", retain="r.jsonl")
    runs = [Run(f"run-{seed}", "method", seed, recipe, {}, "key") for seed in (0, 1)]
    outcomes = {run.name: Outcome("done", "", numbers, 1.0) for run in runs}
    write_tables(tmp_path, lines({"target": numbers}, runs, outcomes), runs, outcomes)
    assert [row["forget_quality_n"] for row in rows_of(tmp_path / "sweep.csv")] == ["1", "2"]
    assert [row["forget_quality_n"] for row in rows_of(tmp_path / "sweep.runs.csv")] == ["40", "40"]
