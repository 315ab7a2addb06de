"""`expunge bench`: the same budget for each method, chosen on rows that are not reported."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from expunge.bench.columns import columns, relearning
from expunge.bench.halves import write_halves
from expunge.bench.plan import read_bench
from expunge.bench.run import choose
from expunge.bench.score import score
from expunge.errors import InputError
from expunge.sweep.table import Line, Spread
from expunge.worlds.corpus import write_world

TINY = {
    "world": {"people": 2, "forget_percent": 50, "epochs": 1},
    "methods": ["NPO+GD", {"name": "removal", "objective": "RESET", "search": {"objective.reset": [0.3, 0.6]}}],
    "search": {"train.learning_rate": [1.0e-4, 1.0e-2]},
    "train": {"max_steps": 2, "gradient_accumulation_steps": 1, "use_cpu": True, "save_strategy": "no"},
    "attacks": [],
    "seeds": [3],
}
HALVES = ("validation", "test")


@pytest.fixture
def file(tmp_path):
    """Write a leaderboard's file; keys may be changed, or left out by None."""

    def write(**changes):
        values = {key: value for key, value in (TINY | changes).items() if value is not None}
        path = tmp_path / "bench.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write


def rows_of(file: Path) -> dict[str, dict[str, str]]:
    with file.open(newline="") as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def cells_of(page: str, heading: str) -> dict[str, dict[str, str]]:
    """The first Markdown table after a heading: its rows by their first cell, their cells by the column's head."""
    lines = page.partition(heading)[2].split("\n\n")
    block = next(part for part in lines if part.startswith("|"))
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    return {row[0]: dict(zip(table[0], row, strict=True)) for row in table[2:]}


@pytest.mark.slow
def test_the_leaderboard_by_its_command(expunge, file, tmp_path):
    out = tmp_path / "out"
    assert f"Leaderboard: {out / 'results.md'}" in expunge("bench", file(), "--out", out).out
    page = (out / "results.md").read_text()

    searched = rows_of(out / "validation" / "sweep.csv")
    options = {"NPO+GD": ("learning_rate=0.0001", "learning_rate=0.01"), "removal": ("reset=0.3", "reset=0.6")}
    chosen = {run["name"]: run for run in yaml.safe_load((out / "test.yaml").read_text())["runs"]}
    tried = cells_of(page, "## What the search tried")
    for method, settings in options.items():
        scores = {}
        for setting in settings:
            row = searched[f"{method} {setting}"]
            kept, gone = float(row["model_utility"]), float(row["forget_efficacy_partial"])
            scores[setting] = 2 * kept * gone / (kept + gone) if kept else 0.0
        best = max(scores, key=lambda setting: scores[setting])
        bold = [cell.strip("*") for cell in tried[method].values() if cell.startswith("**")]
        assert [cell.replace("\\", "").partition(":")[0] for cell in bold] == [best]
        values = {key.rpartition(".")[2]: value for key, value in chosen[method].items()}
        assert all(float(number) == values[name] for name, number in [best.split("=")])

    reported = rows_of(out / "test" / "sweep.csv")
    table = cells_of(page, "**Protocol.**")
    assert set(table) == {"*target model*", "*retain model*", "NPO+GD", "removal"}
    for method in options:
        assert reported[method]["runs"] == "1"
        assert table[method]["MU ↑"] == f"{float(reported[method]['model_utility']):.2f}"
        assert table[method]["ES ↓"] == f"{float(reported[method]['forget/extraction_strength']):.2f}"
        assert table[method]["FE ↑"] == "not measured"  # no model of similarity or entailment was given
        assert table[method]["relearned ↓"] == table[method]["leak@8 ↓"] == "not measured"
    assert table["*retain model*"]["KS ↓"] == table["*target model*"]["seconds ↓"] == "–"
    assert "forget/cosine_similarity, forget/entailment" in page
    assert "(images/bench-plane.svg)" in page
    assert (out / "images" / "bench-plane.svg").is_file()
    assert "bench-relearning" not in page  # nothing was attacked

    asked = [(out / "rows" / half / "forget50_perturbed.json").read_text().splitlines() for half in HALVES]
    assert [len(rows) for rows in asked] == [5, 5]
    assert not set(asked[0]) & set(asked[1])
    assert chosen["removal"]["holdout"].endswith("rows/validation:holdout50")  # its level is not from reported rows
    assert yaml.safe_load((out / "test.yaml").read_text())["holdout"].endswith("rows/test:holdout50")

    before = (out / "test" / "sweep.runs.csv").read_bytes()
    expunge("bench", file(), "--out", out)  # nothing is left to do
    assert (out / "test" / "sweep.runs.csv").read_bytes() == before


def test_the_shipped_leaderboard_has_ten_methods_with_the_same_budget():
    bench = read_bench(None)
    names = [method.name for method in bench.methods]
    assert len(names) >= 10
    assert {"GA", "ME+GD", "IDK+AP", "LLMU", "RESET"} <= set(names)
    assert {len(method.settings) for method in bench.methods} == {3}
    assert bench.seeds == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["NPO+GD", {"objective": "GA", "search": {"train.learning_rate": [1.0]}}]}, "same search budget"),
        ({"methods": ["NPO+GD"]}, "two or more"),
        ({"methods": ["NPO+GD", "NPO+GD"]}, "'NPO+GD' is there twice"),
        ({"methods": ["NPO+GD", "NPQ"]}, "NPQ"),
        ({"methods": ["NPO+GD", {"search": {}}]}, "methods[1]"),
        ({"grid": {"train.learning_rate": [1.0]}}, "grid: a leaderboard has its own protocol"),
        ({"search": {"train.learning_rate": 1.0}}, "expected lists"),
        ({"search": {"train.learning_rat": [1.0, 2.0]}}, "learning_rate"),
        ({"model": "somewhere"}, "Give either world or model"),
        ({"world": {"peple": 3}}, "people"),
        ({"world": None}, "'model' is missing"),
        ({"world": None, "model": "m", "forget": "f", "retain": "r"}, "data is missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_made(expunge, file, tmp_path, changes, said):
    assert said in expunge("bench", file(**changes), "--out", tmp_path / "out", code=2).err
    assert not (tmp_path / "out").exists()


def test_halves_are_disjoint_and_forget_rows_keep_their_controls(tmp_path):
    world = write_world(tmp_path / "world", 4, 50, 0)
    assert write_halves(tmp_path / "rows", "tofu", str(tmp_path / "world"), None, None) == "forget50"
    order = {json.dumps(row, ensure_ascii=False): i for i, row in enumerate(world.forget)}
    controls = {row["question"]: i for i, row in enumerate(world.holdout)}
    seen: set[int] = set()
    for half in HALVES:
        place = tmp_path / "rows" / half
        asked = [order[line] for line in (place / "forget50_perturbed.json").read_text().splitlines()]
        held = [json.loads(line)["question"] for line in (place / "holdout50.json").read_text().splitlines()]
        assert asked == [controls[question] for question in held]
        assert not seen & set(asked)
        seen |= set(asked)
    assert seen == set(range(20))


def test_a_suite_whose_sets_are_no_plain_configurations_is_refused(tmp_path):
    write_world(tmp_path / "world", 2, 50, 0)
    with pytest.raises(InputError, match="Choose tofu"):
        write_halves(tmp_path / "rows", "muse", str(tmp_path / "world"), None, None)


def line_of(numbers: dict[str, float]) -> Line:
    return Line("GA", "unlearned", numbers={key: Spread(value, None, 1) for key, value in numbers.items()})


def test_the_score_is_that_of_the_worse_side():
    names = ("model_utility", "forget_efficacy_partial")
    assert score(line_of({"model_utility": 0.0, "forget_efficacy_partial": 1.0}), names) == 0
    assert score(line_of({"model_utility": 0.5, "forget_efficacy_partial": 1.0}), names) == pytest.approx(2 / 3)
    assert score(line_of({"model_utility": 0.5}), names) is None
    said = line_of({"retain_utility": 0.5, "forget/rougeL_recall": 0.0})  # lower is better: all gone
    assert score(said, ("retain_utility", "forget/rougeL_recall")) == pytest.approx(2 / 3)


def test_the_setting_with_the_highest_score_is_chosen_and_one_that_failed_is_not():
    [method] = [method for method in read_bench(None).methods if method.name == "ME+GD"]
    names = [setting.name for setting in method.settings]
    numbers = [{"model_utility": kept, "forget_efficacy": gone} for kept, gone in ((0.9, 0.2), (0.6, 0.6))]
    lines = [replace(line_of(each), name=name) for name, each in zip(names, numbers, strict=False)]
    found = choose(method, [*lines, Line(names[2], "unlearned", failed=1)], ("model_utility", "forget_efficacy"))
    assert found.scores == {names[0]: pytest.approx(0.36 / 1.1), names[1]: pytest.approx(0.6), names[2]: None}
    assert found.chosen == method.settings[1]
    nothing = choose(method, [Line(name, "unlearned", failed=1) for name in names], ("model_utility", "x"))
    assert nothing.chosen is None


def test_columns_show_the_strongest_setting_of_each_attack():
    attacked = {
        "forget/fact_accuracy": 0.1,
        "relearn/none/fact_accuracy": 0.1,
        "relearn/steps=10 rate=0.001 on=forget/fact_accuracy": 0.3,
        "relearn/steps=30 rate=0.001 on=forget/fact_accuracy": 0.6,
        "relearn/steps=30 rate=0.001 on=retain/fact_accuracy": 0.7,
        "relearn/steps=30 rate=0.0003 on=forget/fact_accuracy": 0.2,
        "relearn/steps=30 rate=0.001 on=forget/fact_accuracy_change": 0.9,
        "quantize/int8/fact_accuracy": 0.9,
        "quantize/nf4/fact_accuracy": 0.2,
        "quantize/rtn4/fact_accuracy": 0.4,
        "sample/n=8 temperature=1 top_p=1/leak@1": 0.1,
        "sample/n=8 temperature=1 top_p=1/leak@8": 0.5,
    }
    table = [line_of(attacked)]
    shown = {column.label: column.of(table[0]) for column in columns(table)}
    means = {label: one.mean for label, one in shown.items() if one is not None}
    assert means == {"right facts": 0.1, "relearned": 0.7, "4 bits": 0.4, "leak@8": 0.5}
    metric, curve = relearning(table)
    assert metric == "fact_accuracy"
    assert [(step, one.mean) for step, one in curve(table[0])] == [(0, 0.1), (10, 0.3), (30, 0.6)]


def test_p_values_keep_their_power_of_ten():
    [quality] = [column for column in columns([]) if column.label == "FQ p"]
    assert quality.shown(1.9e-9) == "2e-09"
    assert quality.shown(0.25) == "0.25"
