"""The demo: what it promises, what it keeps, and what it refuses to overwrite."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from expunge.cli import demonstration
from expunge.cli.demonstration import FORGET_PERCENT, OBJECTIVES, demo, learn_models, model_cache
from expunge.data import load_rows
from expunge.errors import InputError
from expunge.evaluation.suites import SUITES
from expunge.worlds import corpus, new
from expunge.worlds.corpus import write_world


class NoExecutor(Executor):
    """Where nothing may be trained."""

    def submit(self, *_, **__):
        raise AssertionError("a model was trained again")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A world of four people, learned in one pass; and a cache of its own."""
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(new.TINY_TRAINING, "num_train_epochs", 1)
    write_world(tmp_path / "demo/world", 4, FORGET_PERCENT, 0)
    return tmp_path / "demo"


def learn(out: Path, seed: int = 0) -> list[str]:
    said: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        learn_models(out, seed, pool, said.append)
    return said


def test_models_are_learned_once(small, tmp_path):
    learn(small)
    write_world(tmp_path / "again/world", 4, FORGET_PERCENT, 0)
    learn_models(tmp_path / "again", 0, NoExecutor(), lambda _: None)
    for name in ("target", "retain"):
        ours, theirs = ((place / name / "model.safetensors").read_bytes() for place in (small, tmp_path / "again"))
        assert ours == theirs


def test_target_and_retain_model_have_one_tokenizer_and_other_weights(small):
    learn(small)
    words = [(small / name / "tokenizer.json").read_bytes() for name in ("target", "retain")]
    weights = [(small / name / "model.safetensors").read_bytes() for name in ("target", "retain")]
    assert words[0] == words[1]
    assert weights[0] != weights[1]


def test_other_seed_rows_or_settings_are_learned_anew(small, tmp_path, monkeypatch):
    learn(small)
    kept = set(model_cache().iterdir())
    with pytest.raises(AssertionError, match="trained again"):
        learn_models(small, 1, NoExecutor(), lambda _: None)
    write_world(tmp_path / "other/world", 4, FORGET_PERCENT, 5)
    with pytest.raises(AssertionError, match="trained again"):
        learn_models(tmp_path / "other", 0, NoExecutor(), lambda _: None)
    monkeypatch.setitem(new.TINY_TRAINING, "learning_rate", 1e-4)
    with pytest.raises(AssertionError, match="trained again"):
        learn_models(small, 0, NoExecutor(), lambda _: None)
    assert set(model_cache().iterdir()) == kept


@pytest.mark.slow
def test_a_small_demo_from_the_world_to_the_report(small, monkeypatch, expunge):
    """One objective, at a rate that changes no weight, which the trainer notes."""
    monkeypatch.setattr(demonstration, "PEOPLE", 4)
    monkeypatch.setattr(corpus, "THINGS", 3)
    monkeypatch.setitem(SUITES, "tofu", replace(SUITES["tofu"], max_tokens=5))
    monkeypatch.setattr(demonstration, "OBJECTIVES", ("NPO+GD",))
    monkeypatch.setitem(demonstration.UNLEARNING, "learning_rate", 1e-30)
    monkeypatch.setitem(demonstration.UNLEARNING, "num_train_epochs", 1)
    monkeypatch.setattr(demonstration, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))  # sees the settings
    said = expunge("demo", "--out", small).out
    assert all(int(seconds) < 100 for seconds in re.findall(r": (\d+) s\b", said))
    assert len(re.findall(r"model has learned its rows: \d+ s|^  NPO\+GD: \d+ s", said, re.MULTILINE)) == 3
    assert "    note: Training has changed no weight at all" in said
    measured = small / "runs/NPO+GD/results.json"
    assert results(measured)["summary"]["forget_quality"] is not None
    assert (measured.with_name("results.target.json").is_file(), (small / "report.html").is_file()) == (True, True)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="Choose another --out"):
        demo(tmp_path)
    assert (tmp_path / "runs/thesis.txt").read_text() == "years of work"
    with pytest.raises(InputError, match="is a file"):
        demo(tmp_path / "runs/thesis.txt")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a whole demo run from the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-c", "from expunge.cli.main import main; main()", "demo", "--out", "demo"]
    environment = {**os.environ, "EXPUNGE_HOME": str(folder / "home"), "COLUMNS": "160"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "demo", done.stdout


def results(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def shows_what_it_promises(finished):
    out, _ = finished
    runs = {objective: results(out / "runs" / objective / "results.json") for objective in OBJECTIVES}
    target, retain = (results(out / "runs/ME+GD" / f"results.{name}.json") for name in ("target", "retain"))

    def known(of: dict) -> float:
        return of["metrics"]["forget/fact_accuracy"]["value"]

    assert known(target) >= 0.95
    assert known(retain) <= 0.15
    for objective in ("ME+GD", "IDK+AP", "RESET"):
        assert known(runs[objective]) <= 0.15
        assert runs[objective]["summary"]["model_utility"] >= 0.9 * target["summary"]["model_utility"]
    assert all(run["summary"]["forget_quality"] is not None for run in runs.values())

    def relearned(of: dict) -> float:
        return of["metrics"]["forget/relearned"]["value"]

    assert relearned(retain) <= 0.15
    assert relearned(runs["RESET"]) <= 0.15
    assert max(relearned(runs[objective]) for objective in OBJECTIVES) >= 0.5, "what is suppressed comes back"


def prints_table_and_report(finished):
    out, printed = finished
    assert all(objective in printed for objective in OBJECTIVES)
    assert "retain model" in printed
    assert "relearned" in printed
    assert f"Report: {Path('demo') / 'report.html'}" in printed
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Facts relearned" in page
    assert all(objective in page for objective in OBJECTIVES)


def models_really_differ(finished):
    """Nothing is arranged: the runs have one recipe but for the objective, and each ends in weights of its own.

    RESET has other settings, and holdout rows.
    """
    from safetensors.torch import load_file
    from yaml import safe_load

    out, _ = finished
    alike = [name for name in OBJECTIVES if name != "RESET"]
    recipes = [safe_load((out / "runs" / name / "recipe.yaml").read_text("utf-8")) for name in alike]
    assert all({**recipe, "objective": None} == {**recipes[0], "objective": None} for recipe in recipes)
    heads = [load_file(out / "runs" / name / "model/model.safetensors")["lm_head.weight"] for name in OBJECTIVES]
    heads.append(load_file(out / "target/model.safetensors")["lm_head.weight"])
    assert not any(torch.equal(a, b) for i, a in enumerate(heads) for b in heads[:i])
    assert len(load_rows(f"{out / 'world'}:full")) == 245


@pytest.mark.slow
def test_the_demo(finished):
    """One test, so that parallel test processes do not run the demo once each."""
    shows_what_it_promises(finished)
    prints_table_and_report(finished)
    models_really_differ(finished)
