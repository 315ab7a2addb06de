"""Fictitious authors: three cuts of one world, and TOFU's own layout."""

from dataclasses import replace
from functools import partial

import pytest
import yaml
from transformers import BertForSequenceClassification, BertModel

from evaluation.tiny import bert_folder
from expunge.data import load_rows
from expunge.scenarios import SCENARIOS, fictitious
from expunge.scenarios.compare import published
from expunge.worlds.corpus import write_cuts
from scenarios.layouts import read_table, write_tofu

NAME = "fictitious-authors"
NEED_JUDGES = {"model_utility", "forget_efficacy", "forget/cosine_similarity", "forget/entailment"}
NEED_FACTS = {"forget/fact_accuracy", "retain/fact_accuracy"}


def test_cuts_are_of_one_world_and_each_holds_the_smaller_ones(tmp_path):
    places = write_cuts(tmp_path, 20, (5, 10, 15), seed=0)
    forgotten = {cut: [row.key for row in load_rows(f"{place}:forget{cut:02d}")] for cut, place in places.items()}
    assert [len(rows) for rows in forgotten.values()] == [10, 20, 30]
    assert forgotten[10][:10] == forgotten[5]
    assert forgotten[15][:20] == forgotten[10]
    full = {cut: [row.key for row in load_rows(f"{place}:full")] for cut, place in places.items()}
    assert full[5] == full[10] == full[15]
    for cut, place in places.items():
        kept = [row.key for row in load_rows(f"{place}:retain{100 - cut}")]
        assert sorted(forgotten[cut] + kept) == sorted(full[cut])
        assert not set(forgotten[cut]) & {row.key for row in load_rows(f"{place}:retain_perturbed")}
        assert not set(full[cut]) & {row.key for row in load_rows(f"{place}:holdout{cut:02d}")}


@pytest.mark.slow
def test_the_small_form_by_its_command(expunge, tmp_path, monkeypatch):
    """Shorter than the command: the smallest cut, and three methods. GA loses much of the rest, the others little."""
    methods = ("GA", "ME+GD", "IDK+AP")
    short = partial(fictitious.small, cuts=(5,), methods=methods)
    monkeypatch.setitem(SCENARIOS, NAME, replace(SCENARIOS[NAME], small=short))
    expunge("scenario", NAME, "--small", "--quiet", "--out", tmp_path)
    found = read_table(tmp_path, NAME)
    assert {method for method, _ in found} == {f"5 %: {name}" for name in ("target model", *methods)}
    assert {metric for _, metric in found} == set(fictitious.LABELS) - NEED_JUDGES
    value = {key: row["value"] for key, row in found.items()}
    assert found["5 %: GA", "forget/rougeL_recall"]["n"] == 10
    assert value["5 %: target model", "forget/fact_accuracy"] > 0.9
    assert value["5 %: GA", "retain/rougeL_recall"] < 0.85
    for method in ("5 %: ME+GD", "5 %: IDK+AP"):
        assert value[method, "retain/rougeL_recall"] > 0.9
        assert value[method, "forget/fact_accuracy"] < 0.4
    before = (tmp_path / "table.json").read_bytes()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    expunge("scenario", NAME, "--small", "--quiet", "--out", tmp_path)  # nothing is left to do
    assert (tmp_path / "table.json").read_bytes() == before
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def test_the_full_form_takes_tofus_layout(expunge, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fictitious, "METHODS", ("ME+GD", "DPO+KL"))
    data = write_tofu(tmp_path / "tofu")
    expunge("scenario", NAME, "--model", model_folder, "--data", data, "--quiet", "--out", tmp_path / "out")
    found = read_table(tmp_path / "out", NAME)
    methods = {method for method, _ in found}
    assert methods == {f"{cut} %: {name}" for cut in (1, 5) for name in ("target model", "ME+GD", "DPO+KL")}
    assert [found[f"{cut} %: ME+GD", "forget/probability"]["n"] for cut in (1, 5)] == [2, 3]
    recipe = yaml.safe_load((tmp_path / "out" / "runs" / "forget05" / "ME+GD" / "recipe.yaml").read_text())
    assert recipe["objective"]["ME.weight"] == 0.1
    assert recipe["train"]["learning_rate"] == 1e-5
    assert "full form" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_with_both_judges_the_papers_numbers_are_whole(expunge, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fictitious, "METHODS", ("ME+GD",))
    data = write_tofu(tmp_path / "tofu")
    labels = {0: "contradiction", 1: "entailment", 2: "neutral"}
    judges = (
        *("--embedding-model", bert_folder(tmp_path / "embedder", BertModel)),
        *("--nli-model", bert_folder(tmp_path / "nli", BertForSequenceClassification, id2label=labels)),
    )
    words = ("scenario", NAME, "--model", model_folder, "--data", data, *judges, "--quiet", "--out", tmp_path / "out")
    expunge(*words)
    measured = {metric for _, metric in read_table(tmp_path / "out", NAME)}
    assert measured == set(fictitious.LABELS) - {"model_utility_partial", "forget_efficacy_partial"} - NEED_FACTS
    message = expunge(*words[:6], "--out", tmp_path / "out", code=2).err
    assert "embedding-model" in message  # what was measured is another table


@pytest.mark.parametrize(("rows", "steps", "warm_up"), [(40, 6, 0), (200, 31, 6), (400, 62, 12)])
def test_steps_are_those_of_the_papers_recipes(rows, steps, warm_up):
    train = published(rows, 1e-5, 500)
    assert (train["max_steps"], train["warmup_steps"], train["dataloader_drop_last"]) == (steps, warm_up, True)


def test_data_without_forget_splits_is_refused(expunge, model_folder, tmp_path):
    place = write_tofu(tmp_path / "tofu")
    for file in place.glob("forget0*_perturbed.json"):
        file.unlink()
    words = ["scenario", NAME, "--model", model_folder, "--out", tmp_path / "out"]
    assert "none of TOFU's forget01" in expunge(*words, "--data", place, code=2).err
    assert "--data TOFU" in expunge(*words, code=2).err
