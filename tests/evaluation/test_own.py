"""A user's own rows: any layout, any script, controls paired row by row, and plain text cut into windows."""

import json

import numpy as np
import pytest

from evaluation.dense import nll
from evaluation.tiny import evaluate, question_rows, tiny_model
from expunge.data import Row
from expunge.metrics.bootstrap import draws
from expunge.metrics.rouge import rouge_l_recall, rouge_l_recall_unicode


def test_rouge_of_every_script() -> None:
    for leak in ("Она родилась в Париже", "Γεννήθηκε στο Παρίσι", "她出生在巴黎", "वह पेरिस में पैदा हुई", "ولدت في باريس"):
        assert rouge_l_recall_unicode(leak, f"«{leak}»!") == 1.0
        assert rouge_l_recall(leak, leak) == 0.0
    assert rouge_l_recall_unicode("Она родилась в Париже", "Она живёт в Риме") == pytest.approx(0.5)
    assert rouge_l_recall_unicode("她出生在巴黎", "他出生在罗马") == pytest.approx(3 / 6)
    assert rouge_l_recall_unicode("Zu\u0308rich", "ZÜRICH") == 1.0


def test_on_english_it_is_the_published_one() -> None:
    reference, output = "She was writing long novels in 1958.", "she wrote a long novel, in 1958"
    assert rouge_l_recall_unicode(reference, output) == rouge_l_recall(reference, output) > 0.5


def values(result, name: str, metric: str) -> np.ndarray:
    return np.array([row[metric] for row in result.table.to_pylist() if row["set"] == name], dtype=float)


def test_controls_are_paired_row_by_row(model, tokenizer) -> None:
    data = {
        "forget": question_rows(["ada", "bob", "eve", "dan"]),
        "holdout": question_rows(["red", "blue", "a", "the"]),
    }
    result = evaluate(model, tokenizer, suite="own", data=data)
    difference = values(result, "forget", "probability") - values(result, "holdout", "probability")
    assert result.summary.values["probability_above_holdout"] == pytest.approx(difference.mean())
    expected = np.quantile(draws(4) @ difference / 4, [0.025, 0.975])
    assert result.summary.ci95["probability_above_holdout"] == pytest.approx(expected.tolist())
    assert result.metrics["holdout/extraction_strength"].n == 4
    assert result.metrics["forget/mia_loss"].value is not None
    assert "model_utility" not in result.summary.values
    assert "forget_quality" not in result.summary.values


def test_retain_rows_have_a_utility_of_their_own(model, tokenizer) -> None:
    data = {"forget": question_rows(["ada", "bob"]), "retain": question_rows(["eve", "dan", "red"])}
    result = evaluate(model, tokenizer, suite="own", data=data)
    parts = [values(result, "retain", metric).mean() for metric in ("probability", "rougeL_recall")]
    assert result.summary.values["retain_utility"] == pytest.approx(0 if 0 in parts else 2 / sum(1 / p for p in parts))
    assert result.summary.parts["retain_utility"] == ["retain/probability", "retain/rougeL_recall"]
    assert len(result.summary.ci95["retain_utility"]) == 2
    assert "model_utility" not in result.summary.values  # that is the papers', over other sets
    alone = evaluate(model, tokenizer, suite="own", data={"forget": data["forget"]})
    assert alone.summary.values["retain_utility"] is None
    assert "retain: not given" in alone.summary.reasons["retain_utility"]


def test_controls_of_another_number_are_not_paired(model, tokenizer) -> None:
    data = {"forget": question_rows(["ada", "bob", "eve"]), "holdout": question_rows(["red", "blue"])}
    result = evaluate(model, tokenizer, suite="own", data=data)
    means = [values(result, name, "probability").mean() for name in data]
    assert result.summary.values["probability_above_holdout"] == pytest.approx(means[0] - means[1])
    low, high = result.summary.ci95["probability_above_holdout"]
    assert low <= means[0] - means[1] <= high


def test_a_row_without_a_value_is_left_out_with_its_control(model, tokenizer) -> None:
    """Facts on rows 0 and 1 of one set and 1 and 2 of the other: row 1 alone has both."""
    sets = {}
    for name, people, missing in (("forget", ["ada", "bob", "eve"], 2), ("holdout", ["red", "blue", "a"], 0)):
        rows = question_rows(people)
        facts = [{} if i == missing else {"fact": "book" if name == "forget" else "0"} for i in range(3)]
        sets[name] = [Row(r.turns, r.completion, r.columns | fact) for r, fact in zip(rows, facts, strict=True)]
    result = evaluate(model, tokenizer, suite="own", data=sets)
    ours, theirs = (values(result, name, "fact_accuracy") for name in sets)
    assert result.summary.values["fact_accuracy_above_holdout"] == ours[1] - theirs[1]
    assert result.metrics["forget/fact_accuracy"].n == result.metrics["holdout/fact_accuracy"].n == 2
    assert result.summary.ci95["fact_accuracy_above_holdout"] is None


def test_a_file_alone_and_a_file_with_controls(model, tokenizer, tmp_path) -> None:
    file, controls = tmp_path / "forget.jsonl", tmp_path / "controls.csv"
    file.write_text(json.dumps({"prompt": "who is ada", "completion": "author"}) + "\n")
    controls.write_text("question,answer\nwho is dan,author\n")
    alone = evaluate(model, tokenizer, suite="own", data=file)
    assert alone.metrics["forget/probability"].n == 1
    assert alone.summary.values["probability_above_holdout"] is None
    assert "--holdout" in alone.summary.reasons["probability_above_holdout"]
    both = evaluate(model, tokenizer, suite="own", data=file, holdout=controls)
    assert both.summary.values["probability_above_holdout"] is not None
    assert both.summary.ci95["probability_above_holdout"] is None  # one row
    folder = evaluate(model, tokenizer, suite="own", data=tmp_path)
    assert folder.data.sets["forget"].rows == 1
    assert sorted(folder.data.left_out) == ["holdout", "retain"]


def test_long_plain_text_is_cut_into_windows_not_truncated(tokenizer) -> None:
    model = tiny_model()  # a context of 256 tokens
    text = " ".join(["red", "blue", "the", "a", "book"] * 120)
    result = evaluate(model, tokenizer, suite="own", data={"forget": [Row((), text)]})
    rows = [row for row in result.table.to_pylist() if row["set"] == "forget"]
    assert len(rows) == 3
    assert " ".join(row["answer"].strip() for row in rows) == text
    assert all(row["generation"] is None for row in rows)
    assert result.metrics["forget/rougeL_recall"].value is None
    expected = [np.exp(-nll(model, tokenizer, Row((), row["answer"]), row["answer"])) for row in rows]
    assert values(result, "forget", "probability") == pytest.approx(expected, rel=1e-4)
