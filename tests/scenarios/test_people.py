"""Real people: neighbours that are measured are in no training, and the released layout."""

from dataclasses import replace
from functools import partial

import pytest

from expunge.data import load_rows
from expunge.scenarios import SCENARIOS, people
from scenarios.layouts import read_table, write_people

NAME = "real-people"
NEED_JUDGES = {"forget_efficacy", "forget/cosine_similarity", "forget/entailment"}


def test_neighbours_are_trained_on_or_measured_and_never_both(tmp_path):
    rows = people.write_rows(tmp_path / "rows", seed=0)
    sets = {name: load_rows(f"{rows}:{name}") for name in ("forget", "neighbor", "neighbor_perturbed", "full")}
    keys = {name: {row.key for row in each} for name, each in sets.items()}
    assert [len(each) for each in sets.values()] == [20, 90, 90, 245]
    assert not keys["neighbor"] & keys["neighbor_perturbed"]
    assert not keys["forget"] & (keys["neighbor"] | keys["neighbor_perturbed"])
    assert keys["forget"] | keys["neighbor"] | keys["neighbor_perturbed"] < keys["full"]


@pytest.mark.slow
def test_the_small_form_by_its_command(expunge, tmp_path, monkeypatch):
    """Shorter than the command: two of its methods. ME+GD keeps neighbours that it never saw in its training."""
    methods = ("GA+GD", "ME+GD")
    monkeypatch.setitem(SCENARIOS, NAME, replace(SCENARIOS[NAME], small=partial(people.small, methods=methods)))
    expunge("scenario", NAME, "--small", "--quiet", "--out", tmp_path)
    found = read_table(tmp_path, NAME)
    assert {method for method, _ in found} == {"target model", *methods}
    assert {metric for _, metric in found} == set(people.LABELS) - NEED_JUDGES
    value = {key: row["value"] for key, row in found.items()}
    assert [found["ME+GD", f"{name}/rougeL_recall"]["n"] for name in ("forget", "neighbor", "general")] == [20, 90, 45]
    assert value["target model", "neighbor/fact_accuracy"] > 0.9
    for method in methods:
        assert value[method, "forget/fact_accuracy"] < 0.2
    assert value["ME+GD", "neighbor/rougeL_recall"] > 0.8
    assert value["ME+GD", "neighbor/rougeL_recall"] > value["GA+GD", "neighbor/rougeL_recall"]


@pytest.mark.slow
def test_the_full_form_takes_the_released_layout(expunge, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(people, "METHODS", ("NPO+GD",))
    data = write_people(tmp_path / "people")
    words = ["--model", model_folder, "--data", data, "--quiet", "--out", tmp_path / "out"]
    expunge("scenario", NAME, *words)
    found = read_table(tmp_path / "out", NAME)
    assert {method for method, _ in found} == {"target model", "NPO+GD"}
    assert found["NPO+GD", "neighbor/probability"]["n"] == 2
    assert not any(metric.startswith("general/") for _, metric in found)
    assert "General tasks are not measured" in (tmp_path / "out" / "report.html").read_text()
    assert "--data PEOPLE" in expunge("scenario", NAME, "--model", model_folder, "--out", tmp_path, code=2).err
