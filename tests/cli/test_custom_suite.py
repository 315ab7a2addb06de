"""A custom suite, `FILE.py:NAME`, from the command line to the report, and from two results to their differences."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.tiny import causal_tokenizer, question_rows, tiny_model
from expunge.cli import main as command

SUITE = """
from expunge.evaluation import SetSpec, Suite
from expunge.metrics.base import Metric
from expunge.metrics.probability import PROBABILITY


def long_answer(example):
    return None if example.generation is None else float(len(example.generation.split()) > LIMIT)


LIMIT = 2
LONG = Metric(
    name="long_answer",
    per_example=long_answer,
    definition="share of answers of more than two words",
    source="mine",
    needs=frozenset({"generation"}),
    label="Long answers",
    meaning="how many answers go on and on",
    share=True,
    yes_no=True,
)
TALK = Suite(
    name="talk",
    source="mine",
    summary="do answers go on and on?",
    sets=(
        SetSpec("forget", "forget", "forget", label="Talk to forget"),
        SetSpec("kept", "kept", "retain", label="Talk to keep"),
    ),
    metrics=(LONG, PROBABILITY),
    max_tokens=9,
    limit_counts_prompt=False,
    utility=(PROBABILITY,),
    leading=(("long_answer",),),
)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two models, rows, and the file of the suite."""
    folder = tmp_path_factory.mktemp("custom")
    for name, seed in (("first", 0), ("second", 1)):
        tiny_model(seed).save_pretrained(folder / name)
        causal_tokenizer().save_pretrained(folder / name)
    (folder / "data").mkdir()
    for name, words in (("forget", ["ada", "bob", "eve", "dan"]), ("kept", ["red", "blue", "city"])):
        lines = [json.dumps({"question": r.prompt, "answer": r.completion}) for r in question_rows(words)]
        (folder / "data" / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "mine.py").write_text(SUITE)
    return folder


@pytest.fixture
def expunge(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Call the command line as a user does: the exit code, its output, and what it says on the error stream."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["expunge", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        code = 0
        try:
            command.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def evaluation(place: Path, model: str, out: Path, *more: object) -> tuple[object, ...]:
    suite = f"{place / 'mine.py'}:TALK"
    return ("eval", "--suite", suite, "--model", place / model, "--data", place / "data", "--out", out, *more)


def test_from_the_command_line_to_the_report(place, tmp_path, expunge) -> None:
    out = tmp_path / "results.json"
    target = ("--target-model", place / "second")
    code, shown, said = expunge(*evaluation(place, "first", out, *target))
    assert code == 0, said
    assert "Long answers" in shown
    results = json.loads(out.read_text())
    assert results["suite"] == "talk"
    assert results["metrics"]["kept/probability"]["n"] == 3
    assert results["summary"]["model_utility"] == pytest.approx(results["metrics"]["kept/probability"]["value"])
    long = results["metrics"]["forget/long_answer"]["value"]
    code, shown, said = expunge("report", out, "--out", tmp_path / "report.html")
    assert code == 0, said
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("Talk to forget", "Talk to keep", "Long answers", "how many answers go on and on"):
        assert words in page
    assert f"{100 * long:.3g}\N{NO-BREAK SPACE}%" in page
    assert "Long answers on the forget set" in page  # it leads the verdict


def test_two_results_are_compared_with_the_suite_that_the_user_names(place, tmp_path, expunge) -> None:
    for model in ("first", "second"):
        assert expunge(*evaluation(place, model, tmp_path / f"{model}.json"))[0] == 0
    files = ("compare", tmp_path / "first.json", tmp_path / "second.json")
    code, _, said = expunge(*files)
    assert code == 2
    assert "first.json was measured with the custom suite 'talk'" in said
    assert "--suite FILE.py:NAME" in said
    code, _, said = expunge(*files, "--suite", f"{place / 'mine.py'}:TALK", "--out", tmp_path / "table.csv")
    assert code == 0, said
    table = (tmp_path / "table.csv").read_text()
    assert all(f",{key}," in table for key in ("model_utility", "forget/long_answer", "kept/probability"))
    changed = tmp_path / "changed.py"
    changed.write_text(SUITE.replace("LIMIT = 2", "LIMIT = 3"))
    code, _, said = expunge(*files, "--suite", f"{changed}:TALK")
    assert code == 2
    assert "another definition of suite 'talk'" in said


def test_code_that_a_results_file_names_is_not_run(place, tmp_path, expunge) -> None:
    """Neither a comparison nor a report looks for the file of the suite."""
    own = tmp_path / "mine.py"
    own.write_text(SUITE)
    words = [*evaluation(place, "first", tmp_path / "results.json")]
    words[2] = f"{own}:TALK"
    assert expunge(*words)[0] == 0
    own.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{SUITE}")
    assert expunge("report", tmp_path / "results.json", "--out", tmp_path / "report.html")[0] == 0
    assert expunge("compare", tmp_path / "results.json", tmp_path / "results.json")[0] == 2
    assert not (tmp_path / "ran").exists()


def test_results_of_two_definitions_of_one_suite_are_not_compared(place, tmp_path, expunge) -> None:
    other = tmp_path / "other.py"
    other.write_text(SUITE.replace("max_tokens=9", "max_tokens=3"))
    assert expunge(*evaluation(place, "first", tmp_path / "first.json"))[0] == 0
    words = [*evaluation(place, "first", tmp_path / "second.json")]
    words[2] = f"{other}:TALK"
    assert expunge(*words)[0] == 0
    files = (tmp_path / "first.json", tmp_path / "second.json")
    for call in (("compare", *files, "--suite", f"{place / 'mine.py'}:TALK"), ("report", *files, "--out", "r.html")):
        code, _, said = expunge(*call)
        assert code == 2
        assert "two definitions of suite 'talk'" in said


def test_a_custom_suite_under_a_shipped_name_is_told_apart(place, tmp_path, expunge) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("from dataclasses import replace\nfrom expunge.evaluation import SUITES\n")
    with mine.open("a") as file:
        file.write("SHORT = replace(SUITES['own'], max_tokens=3)\n")
    words = [*evaluation(place, "first", tmp_path / "results.json")]
    words[2], words[6] = f"{mine}:SHORT", place / "data" / "forget.jsonl"
    assert expunge(*words)[0] == 0
    code, _, said = expunge("compare", tmp_path / "results.json", tmp_path / "results.json")
    assert code == 2
    assert "another definition of suite 'own'" in said
    same = ("compare", tmp_path / "results.json", tmp_path / "results.json", "--suite", f"{mine}:SHORT")
    assert expunge(*same)[0] == 0


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("nowhere.py:TALK", "there is no file nowhere.py"),
        ("{place}/mine.py:TALKS", "Did you mean 'TALK'?"),
        ("{place}/mine.py:LIMIT", "not a suite but of type int"),
        ("talk", "Unknown suite 'talk'"),
    ],
)
def test_what_is_no_suite_has_a_message(place, tmp_path, expunge, suite, message) -> None:
    words = [*evaluation(place, "first", tmp_path / "results.json")]
    words[2] = suite.format(place=place)
    code, _, said = expunge(*words)
    assert (code, message in said) == (2, True)
