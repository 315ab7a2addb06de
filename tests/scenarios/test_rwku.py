"""RWKU: the published layout, read for the targets that are forgotten, and the whole of it."""

import pytest
import yaml

from expunge.errors import InputError
from expunge.scenarios import rwku
from expunge.scenarios.rwku import REJECTION, read
from expunge.worlds.celebrities import celebrity_world
from expunge.worlds.layout import write_layout
from scenarios.layouts import read_table

NAME = "rwku"


@pytest.fixture
def data(tmp_path):
    """Write the layout, so many rows of each set; rows of some sets may be given."""

    def write(most=None, **changed):
        world = {name: rows[:most] for name, rows in celebrity_world(0).items()}
        world.pop("learned/target")
        for name, rows in changed.items():
            (full,) = (known for known in world if known.startswith(f"{name}/"))
            world[full] = rows
        write_layout(tmp_path / "rwku", world)
        return str(tmp_path / "rwku")

    return write


def test_what_is_about_other_targets_is_left_out(data, monkeypatch):
    monkeypatch.setattr(rwku, "TARGETS", 1)
    world, place = celebrity_world(0), data()
    target = world["forget_target/train"][0]["target"]
    positive, refusals, sets = read(place)
    mine = [row for row in world["train_positive_llama3/train"] if row["subject"] == target]
    assert [row["text"] for row in positive] == [row["text"] for row in mine]
    assert 0 < len(positive) < len(world["train_positive_llama3/train"])
    assert all(target in row["question"] for row in refusals)
    probes = [row for row in world["forget_level1/test"] if row["subject"] == target]
    assert [row.prompt for row in sets["forget_level1"]] == [
        f"Please complete the blank in the following question.\nQuestion: {row['query']}" for row in probes
    ]
    assert sets["forget_level3"][0].prompt.startswith("Please briefly answer the following question.\nQuestion: ")
    assert all(row.completion in world_values(world, target) for row in sets["forget_level2"])
    assert sets["mia_forget"][0].completion == mine[0]["text"]
    truthful = world["utility_truthfulness/test"][0]
    assert sets["utility_truthfulness"][0].completion == truthful["mc1_targets"]["choices"][0]
    assert len(sets["utility_truthfulness"][0].columns["perturbed_answer"]) == 2


def world_values(world, target):
    return {row["answer"] for row in world["forget_level2/test"] if row["subject"] == target}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"forget_level1": [{"subject": "x", "query": "q", "level": "1"}]},
            "no column 'answer' in subject, query, level",
        ),
        ({"mia_retain": [{"subject": "nobody", "text": "t"}]}, "no row about any of"),
        ({"forget_target": [{"name": "x"}]}, "no column 'target' in name"),
    ],
)
def test_what_is_not_as_published_is_refused(data, changed, said):
    with pytest.raises(InputError, match=said):
        read(data(**changed))


def test_only_one_choice_is_true(data):
    rows = celebrity_world(0)["utility_truthfulness/test"]
    rows[0]["mc1_targets"]["labels"] = [1, 1, 0]
    with pytest.raises(InputError, match="row 0: 'mc1_targets' must have one choice with the label 1, not 2"):
        read(data(utility_truthfulness=rows))


@pytest.mark.slow
def test_the_full_form_by_its_command(expunge, data, model_folder, tmp_path, monkeypatch):
    short = {"max_steps": 1, "gradient_accumulation_steps": 1, "use_cpu": True}
    monkeypatch.setattr(rwku, "TRAINING", {**rwku.TRAINING, **short})
    monkeypatch.setattr(rwku, "OF_METHOD", {"GA": {"learning_rate": 3e-8}, "NPO": {}, REJECTION: {}})
    monkeypatch.setattr(rwku, "LONGEST_ANSWER", 4)
    expunge("scenario", NAME, "--model", model_folder, "--data", data(most=3), "--quiet", "--out", tmp_path / "out")
    found = read_table(tmp_path / "out", NAME)
    methods = ("target model", *rwku.METHODS)
    assert set(found) == {(method, metric) for method in methods for metric in rwku.LABELS}
    assert found["GA", "forget_level3/rougeL_recall"]["n"] == 3
    recipes = {
        name: yaml.safe_load((tmp_path / "out/runs" / name / "recipe.yaml").read_text()) for name in rwku.METHODS
    }
    assert recipes["GA"]["forget"].endswith("rows:positive")
    assert recipes["NPO"]["objective"]["NPO.beta"] == 0.2
    assert recipes[REJECTION]["forget"].endswith("rows:refusals")
    assert recipes[REJECTION]["objective"]["GA.weight"] == -1
    assert "--data RWKU" in expunge("scenario", NAME, "--model", model_folder, "--out", tmp_path / "no", code=2).err


@pytest.mark.slow
def test_the_small_form_by_its_command(expunge, tmp_path):
    expunge("scenario", NAME, "--small", "--quiet", "--out", tmp_path)
    value = {key: row["value"] for key, row in read_table(tmp_path, NAME).items()}
    assert set(value) == {(method, metric) for method in ("target model", *rwku.METHODS) for metric in rwku.LABELS}
    for probes in ("forget_level1", "forget_level2", "neighbor_level1", "neighbor_level2"):
        assert value["target model", f"{probes}/rougeL_recall"] > 0.95
    assert value["GA", "forget_level1/rougeL_recall"] < 0.8
    assert value["GA", "forget_level1/rougeL_recall"] < value["NPO", "forget_level1/rougeL_recall"]
    assert value["GA", "mia_forget/loss"] > 2 * value["GA", "mia_retain/loss"]
    for method in rwku.METHODS:
        assert value[method, "neighbor_level2/rougeL_recall"] > 0.8
