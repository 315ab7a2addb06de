"""LLMU's full form: files in the published layouts, their splits, and a run of one step by the command."""

import csv
import json
from pathlib import Path

import pytest
from transformers import BertForSequenceClassification, BertModel

from evaluation.tiny import bert_folder
from expunge.errors import InputError
from expunge.scenarios import published
from expunge.scenarios.published import hallucinated_rows, harmful_rows, normal_rows, passages, split

TRUTHFULQA = Path(__file__).parents[2].parent / "shared" / "data" / "TruthfulQA.csv"


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def pku(i, *safe):
    """A record of PKU-SafeRLHF, with a column that nobody needs."""
    answers = {f"response_{side}": f"answer {side} to {i}" for side in (0, 1)}
    return {"prompt": f"ask {i}", **answers, "is_response_0_safe": safe[0], "is_response_1_safe": safe[1], "better": 1}


def halueval(i):
    return {
        "knowledge": f"fact {i}",
        "question": f"what of {i}",
        "right_answer": f"truth {i}",
        "hallucinated_answer": f"lie {i}",
    }


def truthfulqa(path, count=8):
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["Type", "Category", "Question", "Best Answer", "Correct Answers", "Source"])
        lines.writerows(["Adversarial", "Law", f"is it {i}, or not", f"it is {i}", "a; b", ""] for i in range(count))
    return str(path)


def test_every_unsafe_response_is_forgotten(tmp_path):
    records = [pku(0, True, False), pku(1, False, False), pku(2, True, True)]
    wanted = [("ask 0", "answer 1 to 0"), ("ask 1", "answer 0 to 1"), ("ask 1", "answer 1 to 1")]
    found = harmful_rows(write_jsonl(tmp_path / "pku.jsonl", records))
    assert [(row["question"], row["answer"]) for row in found] == wanted
    with (tmp_path / "pku.csv").open("w", newline="") as file:
        lines = csv.DictWriter(file, records[0])
        lines.writeheader()
        lines.writerows(records)
    assert harmful_rows(str(tmp_path / "pku.csv")) == found
    with pytest.raises(InputError, match="marked as safe"):
        harmful_rows(write_jsonl(tmp_path / "safe.jsonl", [pku(0, True, True)]))
    with pytest.raises(InputError, match="row 1: 'maybe' is neither"):
        harmful_rows(write_jsonl(tmp_path / "odd.jsonl", [pku(0, True, False), pku(1, "maybe", True)]))


def test_hallucinated_answers_have_the_right_one_beside_them(tmp_path):
    (row,) = hallucinated_rows(write_jsonl(tmp_path / "qa.jsonl", [halueval(0)]))
    assert (row["question"], row["answer"], row["right_answer"]) == ("what of 0", "lie 0", "truth 0")
    with pytest.raises(InputError, match=r"row 0: there is no column 'question' in prompt"):
        hallucinated_rows(write_jsonl(tmp_path / "other.jsonl", [{"prompt": "a"}]))


def test_normal_rows_in_each_layout(tmp_path):
    wanted = {"question": "is it 1, or not", "answer": "it is 1"}
    assert normal_rows(truthfulqa(tmp_path / "truthfulqa.csv"))[1] == wanted
    hub = [{"question": "is it 1, or not", "best_answer": "it is 1", "category": "Law"}]
    assert normal_rows(write_jsonl(tmp_path / "hub.jsonl", hub)) == [wanted]
    plain = [{"prompt": "a", "completion": "b"}]
    assert normal_rows(write_jsonl(tmp_path / "plain.jsonl", plain)) == plain
    with pytest.raises(InputError, match="row 0: no usable columns"):
        normal_rows(write_jsonl(tmp_path / "no.jsonl", [{"query": "a"}]))


@pytest.mark.skipif(not TRUTHFULQA.is_file(), reason="TruthfulQA is not here")
def test_truthfulqa_as_it_is_published():
    rows = normal_rows(str(TRUTHFULQA))
    assert len(rows) == 790
    assert rows[0]["question"] == "What happens to you if you eat watermelon seeds?"
    assert rows[0]["answer"] == "The watermelon seeds pass through your digestive system"


def test_a_book_is_cut_at_white_space(tmp_path):
    words = [f"word{i}" for i in range(900)]
    (tmp_path / "book.txt").write_text("\n\n".join(words))
    found = [row["text"] for row in passages(str(tmp_path / "book.txt"))]
    assert " ".join(found).split() == words
    assert all(900 < len(text) <= 1000 for text in found[:-1])
    (tmp_path / "leaf.txt").write_text("short")
    with pytest.raises(InputError, match="too few"):
        passages(str(tmp_path / "leaf.txt"))
    with pytest.raises(InputError, match=r"none\.txt: cannot be read"):
        passages(str(tmp_path / "none.txt"))


def test_a_prompt_is_in_one_half_with_all_its_answers(monkeypatch):
    monkeypatch.setattr(published, "ASKED", 3)
    forget = [{"question": f"q{i // 2}", "answer": f"a{i}"} for i in range(20)]
    normal = [{"question": f"n{i}", "answer": "a"} for i in range(9)]
    sets = split(forget, normal, seed=1)
    assert {name: len(rows) for name, rows in sets.items()} == {
        **{"forget": 10, "unseen": 3, "asked": 3},
        **{"retain": 4, "normal": 3},
    }
    assert not {row["question"] for row in sets["forget"]} & {row["question"] for row in sets["unseen"]}
    assert not {row["question"] for row in sets["retain"]} & {row["question"] for row in sets["normal"]}
    assert split(forget, normal, seed=1) == sets
    assert split(forget, normal, seed=2) != sets
    with pytest.raises(InputError, match="forget and unseen"):
        split(forget[:2], normal, seed=0)


@pytest.fixture
def given(tmp_path, monkeypatch):
    """The arguments of each scenario's full form, for a run of two steps."""
    monkeypatch.setattr(published, "TRAINING", {**published.TRAINING, "max_steps": 2, "use_cpu": True})
    monkeypatch.setattr(published, "LONGEST_ANSWER", 8)
    normal = truthfulqa(tmp_path / "truthfulqa.csv")
    moderator = bert_folder(tmp_path / "moderator", BertForSequenceClassification, id2label={0: "fine", 1: "harm"})
    harm = write_jsonl(tmp_path / "pku.jsonl", [pku(i, False, True) for i in range(6)])
    lies = write_jsonl(tmp_path / "qa.jsonl", [halueval(i) for i in range(6)])
    (tmp_path / "book.txt").write_text(" ".join(f"the book says {i}" for i in range(500)))
    return {
        "harmful": ("--forget", harm, "--retain", normal, "--judge", f"{moderator}:harm"),
        "hallucinations": (
            *("--forget", lies, "--retain", normal),
            *("--judge", bert_folder(tmp_path / "embeddings", BertModel)),
        ),
        "copyright": ("--forget", tmp_path / "book.txt", "--retain", normal),
    }


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        pytest.param("harmful", "harmful_rate", marks=pytest.mark.slow),
        ("copyright", "leak_rate"),
        pytest.param("hallucinations", "hallucination_rate", marks=pytest.mark.slow),
    ],
)
def test_the_full_form_by_its_command(expunge, given, model_folder, tmp_path, name, rate):
    out = tmp_path / "out"
    expunge("scenario", name, "--model", model_folder, *given[name], "--quiet", "--out", out)
    rows = {(r["method"], r["metric"]): r for r in json.loads((out / "table.json").read_text())["rows"]}
    assert {f"forget/{rate}", f"unseen/{rate}", "normal/rougeL_recall"} <= {metric for _, metric in rows}
    assert rows["Original", "normal/rougeL_recall"]["value"] == pytest.approx(1.0)  # against its own answers
    assert rows["GA + mismatch + KL (LLMU)", "cost/of_finetuning"]["value"] > 1
    html = (out / "report.html").read_text()
    assert "full form" in html
    assert "invented world" not in html
    before = (out / "table.json").read_text()
    expunge("scenario", name, "--model", model_folder, *given[name], "--quiet", "--out", out)
    assert (out / "table.json").read_text() == before


@pytest.mark.parametrize("name", ["harmful", "copyright", "hallucinations"])
def test_what_the_full_form_needs_is_said(expunge, given, tmp_path, name):
    needs = expunge("scenario", name, "--out", tmp_path / "out", code=2).err
    assert "--model M --forget" in needs
    *rest, _, judge = given["harmful"]
    without = expunge("scenario", name, "--model", "m", "--judge", judge, "--out", tmp_path / "other", code=2).err
    assert "--retain TRUTHFULQA" in without
    if name != "copyright":
        judgeless = expunge("scenario", name, "--model", "m", *rest, "--out", tmp_path / "other", code=2).err
        assert "needs" in judgeless
        assert "--judge" in judgeless
