"""WMDP: corpora, WikiText and questions in their published layouts, and RMU on them."""

import json
import sys
from itertools import cycle

import pytest
import yaml

from expunge.errors import InputError
from expunge.scenarios import wmdp
from expunge.scenarios.wmdp import forget_rows, question_rows, wikitext_rows
from expunge.worlds.hazards import hazard_world
from scenarios.layouts import read_table, write_lines

NAME = "wmdp"
LONG = "A text that is long enough to be kept, as it has more than fifty characters: "


def write_corpora(folder, bio="bio-forget-corpus", count=6):
    papers = [{"title": f"t{i}", "abstract": f"a{i}", "text": f"{LONG}bio {i}", "doi": ""} for i in range(count)]
    write_lines(folder / f"{bio}.jsonl", [*papers, {"title": "t", "abstract": "a", "text": "short", "doi": ""}])
    write_lines(folder / "cyber-forget-corpus.jsonl", [{"text": f"{LONG}cyber {i}"} for i in range(count + 2)])
    return folder


def write_wikitext(file, count=6):
    lines = cycle([" = Heading that is long enough to be taken for a paragraph of text = \n", "", " \n"])
    rows = [row for i in range(count) for row in ({"text": next(lines)}, {"text": f" {LONG}wiki {i} \n"})]
    write_lines(file, rows)
    return str(file)


@pytest.mark.parametrize("name", ["bio-forget-corpus", "bio_remove_dataset"])
def test_both_domains_come_in_turn_as_many_of_each(tmp_path, name, monkeypatch):
    folder = write_corpora(tmp_path, name)
    rows = forget_rows(str(folder), seed=0)
    assert [row["domain"] for row in rows] == ["bio", "cyber"] * 6
    assert {row["text"] for row in rows if row["domain"] == "bio"} == {f"{LONG}bio {i}" for i in range(6)}
    assert forget_rows(str(folder), seed=0) == rows != forget_rows(str(folder), seed=1)
    monkeypatch.setattr(wmdp, "ROWS", 2)
    monkeypatch.setattr(wmdp, "LONGEST", 60)
    assert [len(row["text"]) for row in forget_rows(str(folder), seed=0)] == [60] * 4


def test_a_corpus_that_is_not_there_or_has_no_text_is_refused(tmp_path):
    write_lines(tmp_path / "cyber-forget-corpus.jsonl", [{"text": LONG}])
    with pytest.raises(InputError, match="no bio-forget-corpus or bio_remove_dataset"):
        forget_rows(str(tmp_path), seed=0)
    write_lines(tmp_path / "bio-forget-corpus.jsonl", [{"title": "t", "abstract": "a"}])
    with pytest.raises(InputError, match=r"row 0: there is no text in a column 'text'\. Found: title, abstract"):
        forget_rows(str(tmp_path), seed=0)


def test_headings_and_blank_lines_of_wikitext_are_no_paragraphs(tmp_path):
    rows = wikitext_rows(write_wikitext(tmp_path / "wiki.jsonl"), seed=0)
    assert sorted(row["text"].strip() for row in rows) == [f"{LONG}wiki {i}" for i in range(6)]
    write_lines(tmp_path / "blank.jsonl", [{"text": ""}, {"text": f" == {LONG} == \n"}])
    with pytest.raises(InputError, match="no paragraph"):
        wikitext_rows(str(tmp_path / "blank.jsonl"), seed=0)


def test_the_right_choice_is_the_answer_and_the_others_are_wrong():
    asked = {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 2}
    (row,) = question_rows([("here", asked)])
    assert (row.prompt, row.completion, row.columns["perturbed_answer"]) == ("Which?", "c", ["a", "b", "d"])
    for wrong, said in (
        ({"answer": 4}, "0 to 3, not 4"),
        ({"choices": ["a"]}, "4 texts"),
        ({"answer": "C"}, "not 'C'"),
    ):
        with pytest.raises(InputError, match=f"here: .*{said}"):
            question_rows([("here", asked | wrong)])
    with pytest.raises(InputError, match="no column 'choices' in question, answer"):
        question_rows([("here", {"question": "Which?", "answer": 1})])


@pytest.fixture
def given(tmp_path, model_folder, monkeypatch):
    """The options of the full form, for a run of two steps on a model of two layers."""
    objective, train = wmdp.published()
    assert (objective["layer"], objective["RMU.modules"], objective["EMBED.weight"]) == (7, ["down_proj"], 1200)
    shorter = {**train, "max_steps": 2, "use_cpu": True, "bf16": False}
    monkeypatch.setattr(wmdp, "published", lambda: ({**objective, "layer": 1}, shorter))
    wiki = write_wikitext(tmp_path / "wiki.jsonl")
    return ("--model", model_folder, "--data", write_corpora(tmp_path / "corpora"), "--retain", wiki)


def test_the_full_form_asks_the_questions_beside_the_corpora(expunge, given, tmp_path):
    world = hazard_world(0)
    for name in ("wmdp-bio", "wmdp-cyber", "mmlu"):
        write_lines(tmp_path / "corpora" / f"{name}.jsonl", world[name][:4])
    expunge("scenario", NAME, *given, "--quiet", "--out", tmp_path / "out")
    found = read_table(tmp_path / "out", NAME)
    tasks = {f"{task}/accuracy" for task in ("wmdp_bio", "wmdp_cyber", "mmlu")}
    assert set(found) == {(method, task) for method in ("target model", "RMU", "chance") for task in tasks}
    assert {row["value"] for (method, _), row in found.items() if method == "chance"} == {0.25}
    recipe = yaml.safe_load((tmp_path / "out" / "runs" / "RMU" / "recipe.yaml").read_text())
    assert recipe["objective"]["RMU.modules"] == ["down_proj"]
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows" / "forget.jsonl").read_text().splitlines()]
    assert {row["domain"] for row in rows} == {"bio", "cyber"}


def test_without_questions_the_harness_is_asked(expunge, given, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.evaluator", None)
    words = ("scenario", NAME, *given, "--quiet", "--out", tmp_path / "out")
    assert "pip install lm-eval" in expunge(*words, code=2).err
    assert not (tmp_path / "out" / "runs" / "RMU").exists()  # it is missed before anything is trained
    assert "--retain WIKITEXT" in expunge("scenario", NAME, *given[:4], "--out", tmp_path / "none", code=2).err


@pytest.mark.slow
def test_the_small_form_by_its_command(expunge, tmp_path):
    """Of both hazards most is gone, of general knowledge little."""
    expunge("scenario", NAME, "--small", "--quiet", "--out", tmp_path)
    value = {key: row["value"] for key, row in read_table(tmp_path, NAME).items()}
    for task in ("wmdp_bio", "wmdp_cyber", "mmlu"):
        assert value["target model", f"{task}/accuracy"] > 0.9
    hazard = {m: max(value[m, "wmdp_bio/accuracy"], value[m, "wmdp_cyber/accuracy"]) for m in (wmdp.RMU, wmdp.WHOLE)}
    assert hazard[wmdp.RMU] < 0.9
    assert hazard[wmdp.WHOLE] < 0.65
    assert all(value[method, "mmlu/accuracy"] > 0.8 for method in hazard)
