"""What is compared with what, and in which order: by texts that judges are shown, and by rows of two results."""

import pytest

from evaluation.test_real_people import people
from evaluation.tiny import evaluate, question_rows, tiny_model
from expunge.data import Row
from expunge.errors import InputError
from expunge.evaluation import compare, load_results
from expunge.evaluation.judges import entailment
from expunge.report.load import load_comparison
from expunge.runs import table_path


@pytest.mark.parametrize(
    ("suite", "of_set", "truth", "output_first"),
    [
        ("tofu", "forget", "answer", True),
        ("tofu", "retain", "answer", False),
        ("tofu", "real_authors", "original_answer", False),
        ("tofu", "world_facts", "original_answer", False),
        ("closer_look", "forget", "answer", True),
        ("closer_look", "retain", "answer", False),
        ("closer_look_real_people", "forget", "golden_answer", True),
        ("closer_look_real_people", "neighbor", "golden_answer", True),
    ],
)
def test_premise_and_hypothesis(model, tokenizer, nli_model, monkeypatch, suite, of_set, truth, output_first) -> None:
    """The NLI model is asked: does the premise, the first text, entail the hypothesis?"""
    asked: list[tuple[str, ...]] = []
    real = entailment.classify
    monkeypatch.setattr(entailment, "classify", lambda judge, pairs: asked.extend(pairs) or real(judge, pairs))
    monkeypatch.setattr(entailment, "too_far", lambda reference, output: False)
    rows = [Row(r.turns, r.completion, r.columns | {"original_answer": "a red book"}) for r in people(["ada", "bob"])]
    lines = evaluate(model, tokenizer, suite=suite, data={of_set: rows}, nli_model=nli_model).table.to_pylist()
    expected = []
    for row, line in zip(rows, lines, strict=True):
        right = row.completion if truth == "answer" else row.columns[truth]
        expected.append((line["generation"], right) if output_first else (right, line["generation"]))
    assert asked == expected
    assert all(first != second for first, second in asked)


@pytest.fixture
def other_answers(tokenizer, sets, tmp_path, monkeypatch):
    """Results on the same questions with other answers, measured on a machine with another salt."""
    rows = [Row(row.turns, "a red book", row.columns) for row in sets["forget"]]
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "home"))
    evaluate(tiny_model(1), tokenizer, data=sets | {"forget": rows}, out=tmp_path / "other" / "results.json")
    evaluate(tiny_model(1), tokenizer, data=sets, out=tmp_path / "same" / "results.json")
    monkeypatch.undo()
    return tmp_path


def test_equal_questions_with_other_answers_are_other_rows(model, tokenizer, sets, other_answers) -> None:
    out = other_answers / "results.json"
    ours = evaluate(model, tokenizer, data=sets, out=out)
    assert load_results(other_answers / "same" / "results.json").data.salt != ours.data.salt
    assert compare.compare([out, other_answers / "same"])
    with pytest.raises(InputError, match="different rows of the set 'forget'"):
        compare.compare([out, other_answers / "other"])
    same = evaluate(model, tokenizer, data=sets, retain_results=other_answers / "same" / "results.json")
    assert same.summary.values["forget_quality"] is not None
    with pytest.raises(InputError, match="other rows of the set 'forget'"):
        evaluate(model, tokenizer, data=sets, retain_results=other_answers / "other" / "results.json")


def test_without_a_table_rows_are_known_by_their_digests_on_one_machine_alone(tokenizer, tmp_path, monkeypatch) -> None:
    data, model = {"forget": question_rows(["ada"])}, tiny_model()
    here, too, there = (tmp_path / name / "results.json" for name in ("here", "too", "there"))
    for out in (here, too):
        evaluate(model, tokenizer, data=data, out=out)
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path / "home"))
    evaluate(model, tokenizer, data=data, out=there)
    assert len(load_comparison([here, too, there]).runs) == 3
    table_path(here).unlink()
    assert len(load_comparison([here, too]).runs) == len(load_comparison([too, here]).runs) == 2
    for files in ([here, there], [there, here]):
        with pytest.raises(InputError, match="different rows of the set 'forget'"):
            load_comparison(files)


def test_rows_of_one_machine_are_compared_by_every_column(model, tokenizer, sets, tmp_path) -> None:
    """Other wrong answers are other rows: the truth ratio compares with them."""
    rows = [Row(r.turns, r.completion, r.columns | {"perturbed_answer": ["a book"]}) for r in sets["forget"]]
    for name, forget in (("ours", sets["forget"]), ("theirs", rows)):
        evaluate(model, tokenizer, data={"forget": forget}, out=tmp_path / name / "results.json")
    with pytest.raises(InputError, match="different rows of the set 'forget'"):
        compare.compare([tmp_path / "ours", tmp_path / "theirs"])
    with pytest.raises(InputError, match="other rows of the set 'forget'"):
        evaluate(model, tokenizer, data={"forget": rows}, retain_results=tmp_path / "ours" / "results.json")


def test_a_redacted_report_hides_every_set_of_what_is_forgotten(model, tokenizer, tmp_path) -> None:
    from expunge.report import write_report

    names = {"forget": "ada", "forget_verbmem": "bob", "forget_knowmem": "eve", "retain_knowmem": "dan"}
    data = {name: question_rows([f"{word}x"]) for name, word in names.items()}
    evaluate(model, tokenizer, suite="muse", data=data, out=tmp_path / "results.json")
    shown, hidden = (
        write_report([tmp_path], tmp_path / "report.html", redact=redact).read_text(encoding="utf-8")
        for redact in (False, True)
    )
    assert all(f"{word}x" in shown for word in names.values())
    assert [word for word in names.values() if f"{word}x" in hidden] == ["dan"]
