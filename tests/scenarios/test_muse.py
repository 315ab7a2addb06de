"""MUSE: invented news in the published layout, folds, and the curves over them."""

import json
from dataclasses import replace
from functools import partial

import pytest
import yaml
from transformers import AutoTokenizer

from expunge.data import configurations, load_rows
from expunge.scenarios import SCENARIOS, muse
from expunge.worlds.layout import write_layout
from expunge.worlds.news import FOLDS, news_world
from scenarios.layouts import read_table

NAME = "muse"


def texts(spec):
    return {row.completion for row in load_rows(spec)}


@pytest.fixture
def news(tmp_path):
    """The published layout with three rows of each set at most; a function that leaves configurations out."""

    def write(*without):
        kept = {n: rows[:3] for n, rows in news_world(0).items() if n.partition("/")[0] not in ("learned", *without)}
        write_layout(tmp_path / "news", kept)
        return tmp_path / "news"

    return write


def test_the_news_have_the_published_layout_and_folds_are_apart(tmp_path):
    write_layout(tmp_path / "news", news_world(0))
    assert news_world(0) == news_world(0) != news_world(1)
    assert set(configurations(tmp_path / "news")) == {
        "raw",
        "verbmem",
        "knowmem",
        "privleak",
        "sust",
        "scal",
        "learned",
    }
    spec = str(tmp_path / "news")
    folds = [texts(f"{spec}:sust:forget_{k}") for k in range(1, FOLDS + 1)]
    assert folds[0] == texts(f"{spec}:raw:forget") == texts(f"{spec}:privleak:forget")
    assert len(set.union(*folds)) == sum(map(len, folds))
    for k in range(1, FOLDS + 1):
        assert texts(f"{spec}:scal:forget_{k}") == set.union(*folds[:k])
    learned, kept = texts(f"{spec}:learned:target"), texts(f"{spec}:learned:retain")
    assert kept < learned
    assert set.union(*folds) <= learned - kept
    assert not learned & texts(f"{spec}:raw:holdout")
    assert texts(f"{spec}:raw:retain1") < kept


def test_the_tokenizer_has_met_the_words_of_the_holdout(tmp_path):
    write_layout(tmp_path / "news", news_world(0))
    muse.write_tokenizer(tmp_path / "news", tmp_path / "tokenizer")
    words = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    lengths = {}
    for name in ("forget", "holdout"):
        found = texts(f"{tmp_path / 'news'}:raw:{name}")
        lengths[name] = sum(len(words(text).input_ids) for text in found) / sum(map(len, found))
    assert lengths["holdout"] == pytest.approx(lengths["forget"], rel=0.1)


def test_folds_that_are_not_published_together_are_put_together(news, tmp_path):
    growing, in_turn = muse.folds(str(news("scal")), tmp_path)
    parts = [texts(f"{tmp_path / 'news'}:sust:forget_{k}") for k in range(1, FOLDS + 1)]
    assert [texts(spec) for spec in in_turn] == parts[1:]
    assert [texts(spec) for spec in growing] == [set.union(*parts[:k]) for k in range(2, FOLDS + 1)]


def full(expunge, model, data, out, *more):
    expunge("scenario", NAME, "--model", model, "--data", data, *more, "--quiet", "--out", out)
    return read_table(out, NAME)


@pytest.fixture
def short(monkeypatch):
    """One step for each of two methods."""
    monkeypatch.setattr(muse, "METHODS", ("NPO+GD", muse.TASK_VECTOR))
    monkeypatch.setattr(
        muse, "TRAINING", {**muse.TRAINING, "max_steps": 1, "gradient_accumulation_steps": 1, "use_cpu": True}
    )


@pytest.mark.slow
def test_the_full_form_takes_the_published_layout_with_its_folds(expunge, news, model_folder, tmp_path, short):
    found = full(expunge, model_folder, news(), tmp_path / "out", "--retain-model", model_folder)
    assert {method for method, _ in found} == {"retain model", "target model", "NPO+GD", muse.TASK_VECTOR}
    assert found["target model", "privleak"]["value"] == pytest.approx(0)  # it is its own retain model here
    for method in ("NPO+GD", muse.TASK_VECTOR):
        for curve, metric in muse.CURVES.items():
            points = [found[method, f"{curve}@{k}"]["value"] for k in range(1, FOLDS + 1)]
            assert points[0] == found[method, metric]["value"]  # fold 1 is the forget set
    places = {k: tmp_path / "out" / "in_turn" / str(k) / "NPO+GD" / "recipe.yaml" for k in (2, 3)}
    recipes = {k: yaml.safe_load(place.read_text()) for k, place in places.items()}
    assert recipes[2]["model"] == str(tmp_path / "out" / "runs" / "NPO+GD" / "model")
    assert recipes[3]["model"] == str(tmp_path / "out" / "in_turn" / "2" / "NPO+GD" / "model")
    assert recipes[3]["forget"].endswith("sust:forget_3")
    vector = yaml.safe_load((tmp_path / "out" / "runs" / muse.TASK_VECTOR / "recipe.yaml").read_text())
    assert (vector["objective"]["GA.weight"], vector["train"]["negate"]) == (-1, 5)
    assert (tmp_path / "out" / "report.html").read_text().count("<svg") == len(muse.CURVES)


@pytest.mark.slow
def test_books_have_no_folds_and_without_a_retain_model_there_is_no_privleak(
    expunge, news, model_folder, tmp_path, short, monkeypatch
):
    monkeypatch.setattr(muse, "METHODS", ("GA",))
    found = full(expunge, model_folder, news("sust", "scal"), tmp_path / "out")
    assert {metric for _, metric in found} == {muse.VERBATIM, muse.KNOWN, muse.KEPT}
    assert not (tmp_path / "out" / "in_turn").exists()


def test_what_is_missing_or_not_taken_is_said(expunge, news, model_folder, tmp_path):
    words = ["scenario", NAME, "--model", model_folder, "--out", tmp_path / "out"]
    assert "--data MUSE-NEWS-OR-BOOKS" in expunge(*words, code=2).err
    assert "takes no --judge" in expunge(*words, "--data", news(), "--judge", "j", code=2).err


@pytest.mark.slow
def test_the_small_form_by_its_command(expunge, tmp_path, monkeypatch):
    """Shorter than the command: three methods, and one of them over folds."""
    methods = ("GA", "NPO+GD")
    monkeypatch.setitem(
        SCENARIOS, NAME, replace(SCENARIOS[NAME], small=partial(muse.small, methods=methods, folded=("NPO+GD",)))
    )
    expunge("scenario", NAME, "--small", "--quiet", "--out", tmp_path)
    value = {key: row["value"] for key, row in read_table(tmp_path, NAME).items()}
    assert {method for method, _ in value} == {"retain model", "target model", *methods}
    assert min(value["target model", metric] for metric in (muse.VERBATIM, muse.KNOWN, muse.KEPT)) > 0.9
    assert value["target model", "privleak"] < -50
    found = json.loads((tmp_path / "results" / "retain.results.json").read_text())["metrics"]["forget/mia_min_k"]
    assert 0.2 < found["value"] < 0.8  # it has met neither the forget nor the holdout articles
    assert value["retain model", muse.VERBATIM] < 0.8
    assert value["retain model", muse.KNOWN] < 0.2
    assert value["retain model", muse.KEPT] > 0.9
    for method in methods:
        assert value[method, muse.VERBATIM] < 0.5
        assert value[method, muse.KEPT] > 0.8
    for curve, metric in muse.CURVES.items():
        assert value["NPO+GD", f"{curve}@1"] == value["NPO+GD", metric]
        assert {f"{curve}@{k}" for k in range(1, FOLDS + 1)} <= {name for _, name in value}
