"""From a sweep's file to its runs, and what is refused before anything is loaded."""

from pathlib import Path

import pytest

from expunge.errors import InputError
from expunge.sweep import read_sweep


def test_objectives_meet_the_grid_and_the_seeds_and_listed_runs_come_after(sweep_file):
    file = sweep_file(
        objectives=["NPO+GD", {"name": "ME+GD", "forget_weight": 0.1}],
        grid={"train.learning_rate": ["1e-4", 2.0e-4], "objective.retain_weight": [1, 2]},
        runs=[{"name": "refuse", "objective": "IDK+AP", "train": {"num_train_epochs": 7}, "lora.r": 2}],
        seeds=[3, 4],
    )
    runs = read_sweep(file)[1]
    assert len(runs) == (2 * 2 * 2 + 1) * 2
    assert [run.seed for run in runs] == [3] * 9 + [4] * 9
    assert len({run.name for run in runs}) == len(runs)
    second = next(run for run in runs if run.method == "ME+GD forget_weight=0.1 learning_rate=0.0001 retain_weight=2")
    assert second.recipe.objective == {"name": "ME+GD", "forget_weight": 0.1, "retain_weight": 2}
    assert second.recipe.train["learning_rate"] == 1e-4
    assert second.recipe.train["gradient_accumulation_steps"] == 1  # the file's own
    refuse = next(run for run in runs if run.method == "refuse")
    assert (refuse.recipe.train["num_train_epochs"], refuse.recipe.train["learning_rate"]) == (7, 1e-2)
    assert refuse.recipe.lora.r == 2
    assert refuse.recipe.train["seed"] == 3


def test_a_recipe_is_a_sweep_of_one_run(sweep_file):
    [run] = read_sweep(sweep_file(objectives=None, seeds=None, objective="GA+KL"))[1]
    assert (run.method, run.seed, run.recipe.objective_name) == ("GA+KL", 42, "GA+KL")


def test_holdout_rows_go_to_the_objective_that_makes_use_of_them(sweep_file, data):
    holdout = str(data / "retain.jsonl")
    runs = read_sweep(sweep_file(objectives=["RESET", "GA+GD"], holdout=holdout, anchor="fresh", seeds=[0]))[1]
    assert [run.recipe.holdout for run in runs] == [holdout, None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objektives": ["GA"]}, "Unknown key 'objektives'. Did you mean 'objectives'?"),
        ({"model": None}, "'model' is missing"),
        ({"objectives": ["NOP+GD"]}, "Did you mean 'NPO'"),
        ({"train": {"learning_rat": 1}}, "Did you mean 'learning_rate'"),
        ({"grid": {"train.learning_rate": [-1]}}, "train.learning_rate"),
        ({"grid": {"train.learning_rate": []}}, "grid.train.learning_rate"),
        ({"grid": {"train.seed": [1, 2]}}, "seeds: [0, 1, 2]"),
        ({"train": {"seed": 1}}, "seeds: [0, 1, 2]"),
        ({"runs": [{"objective": "GA", "train": {"seed": 1}}]}, "runs[0]: train.seed"),
        ({"runs": [{"objective": "GA", "model": "other"}]}, "runs[0]: model is the same in all runs"),
        ({"runs": [{"objective": "IDK+GD"}]}, "'IDK+GD' is there twice"),
        ({"seeds": [1, 1]}, "seeds"),
        ({"seeds": [-1]}, "seeds.0"),
        ({"objective": "GA"}, "either objective or objectives"),
        ({"attacks": ["relern"]}, "Did you mean 'relearn'"),
        ({"suite": "toffu"}, "Did you mean 'tofu'"),
        ({"keep": "all"}, "keep"),
    ],
)
def test_what_cannot_be_used_is_named(sweep_file, changes, words):
    with pytest.raises(InputError) as refused:
        read_sweep(sweep_file(**changes))
    assert words in str(refused.value)


def test_the_example_is_a_sweep_of_seven_methods_and_three_seeds():
    runs = read_sweep(Path(__file__).parents[2] / "examples" / "sweep.yaml")[1]
    assert len({run.method for run in runs}) == 7
    assert len(runs) == 21
