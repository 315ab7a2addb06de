"""An edited number is named: never shown by a report or a comparison, never used again by an evaluation."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evaluation.tiny import causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.cli import main as command
from thinned import thinned


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A model, its rows and its results, with those of a target model."""
    place = tmp_path_factory.mktemp("measured")
    for name, seed in (("model", 0), ("target", 1)):
        tiny_model(seed).save_pretrained(place / name)
        causal_tokenizer().save_pretrained(place / name)
    lines = [json.dumps({"question": r.prompt, "answer": r.completion}) for r in question_rows(["ada", "bob", "eve"])]
    (place / "forget.jsonl").write_text("\n".join(lines))
    evaluate(place / "model", suite="own", data=place / "forget.jsonl", out=place / "first" / "results.json")
    return place


@pytest.fixture
def run(measured, tmp_path) -> Path:
    """The results, to be edited."""
    for file in (measured / "first").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture
def expunge(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Call the command line as a user does: the exit code, and what it says on the error stream."""

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
        capsys.readouterr()
        try:
            command.main()
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


def edit_json(run: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads((run / "results.json").read_text())
    edit(content)
    (run / "results.json").write_text(json.dumps(content))


def edit_table(run: Path, column: str, change: Callable[[pa.ChunkedArray], pa.ChunkedArray]) -> None:
    file = run / "results.examples.parquet"
    table = pq.read_table(file)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, column, change(table[column])), file)


EDITS = {
    "a value": (
        lambda run: edit_json(run, lambda c: c["metrics"]["forget/probability"].update(value=0.01)),
        "results.json: was edited after it was written (metrics/forget/probability)",
    ),
    "an interval": (
        lambda run: edit_json(run, lambda c: c["metrics"]["forget/rougeL_recall"].update(ci95=[0.0, 0.1])),
        "(metrics/forget/rougeL_recall)",
    ),
    "a summary": (
        lambda run: edit_json(run, lambda c: c["summary"].update(probability_above_holdout=0.0)),
        "(summary/probability_above_holdout)",
    ),
    "a metric taken away": (
        lambda run: edit_json(run, lambda c: c["metrics"].pop("forget/extraction_strength")),
        "(metrics/forget/extraction_strength)",
    ),
    "a metric taken away with its digest": (
        lambda run: edit_json(
            run,
            lambda c: (c["metrics"].pop("forget/probability"), c["digests"].pop("metrics/forget/probability")),
        ),
        "was edited after it was written (its digests)",
    ),
    "a metric added": (
        lambda run: edit_json(run, lambda c: c["metrics"].update({"forget/new": {"value": 0.0, "better": "lower"}})),
        "(metrics/forget/new)",
    ),
    "the suite": (lambda run: edit_json(run, lambda c: c.update(suite="tofu")), "(suite)"),
    "the model": (lambda run: edit_json(run, lambda c: c["model"].update(fingerprint="0")), "(model/fingerprint)"),
    "a value and the whole digest": (
        lambda run: edit_json(run, lambda c: c.update(suite="tofu", digest="0")),
        "(suite)",
    ),
    "no digests": (
        lambda run: edit_json(run, lambda c: (c.pop("digest"), c.pop("digests"))),
        "results.json: has no digests",
    ),
    "a value of the table": (
        lambda run: edit_table(run, "probability", lambda column: pc.multiply(column, 0.5)),
        "results.examples.parquet: is not the table that",
    ),
    "an answer of the table": (
        lambda run: edit_table(run, "generation", lambda column: pa.chunked_array([["no"] * len(column)])),
        "its columns generation differ",
    ),
    "the order of the table": (
        lambda run: pq.write_table(
            pq.read_table(run / "results.examples.parquet").take([1, 0, 2]), run / "results.examples.parquet"
        ),
        "is not the table that",
    ),
    "the digests of the table": (
        lambda run: edit_json(run, lambda c: c.update(table=None)),
        "results.json: was edited after it was written (table",
    ),
}


@pytest.mark.fault("edited numbers")
@pytest.mark.parametrize("case", thinned(EDITS, *list(EDITS)[::2]))
def test_an_edit_is_named_by_report_compare_and_eval(case, measured, run, tmp_path, expunge) -> None:
    edit, message = EDITS[case]
    first = measured / "first" / "results.json"
    edit(run)
    for words in (("report", run, "--out", tmp_path / "report.html"), ("compare", first, run)):
        code, said = expunge(*words)
        assert code == 2
        assert message in said
        assert "expunge eval" in said
    assert not (tmp_path / "report.html").exists()
    evaluation = ("eval", "--model", measured / "model", "--suite", "own", "--data", measured / "forget.jsonl")
    retain = ("--retain-results", run / "results.json", "--out", tmp_path / "new" / "results.json")
    code, said = expunge(*evaluation, *retain)
    assert (code, message in said) == (2, True)
    code, said = expunge(*evaluation, "--out", run / "results.json")
    assert (code, message in said) == (0, True)
    assert "scoring" in said  # measured again
    assert json.loads((run / "results.json").read_text()) == json.loads(first.read_text())


def test_what_was_not_edited_is_shown_and_used_again(measured, run, tmp_path, expunge) -> None:
    first = measured / "first" / "results.json"
    content = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(content, indent=1, sort_keys=True))  # other spaces, the same values
    pq.write_table(pq.read_table(run / "results.examples.parquet"), run / "results.examples.parquet", compression=None)
    assert expunge("report", run, "--out", tmp_path / "report.html")[0] == 0
    assert expunge("compare", first, run)[0] == 0
    words = ("eval", "--model", measured / "model", "--suite", "own", "--data", measured / "forget.jsonl")
    code, said = expunge(*words, "--out", run / "results.json")
    assert (code, "scoring" in said, "note" in said) == (0, False, False)


def test_an_edited_companion_is_named(measured, run, tmp_path, expunge) -> None:
    evaluate(measured / "target", suite="own", data=measured / "forget.jsonl", out=run / "results.target.json")
    content = json.loads((run / "results.target.json").read_text())
    content["metrics"]["forget/probability"]["value"] = 0.99
    (run / "results.target.json").write_text(json.dumps(content))
    code, said = expunge("report", run, "--out", tmp_path / "report.html")
    assert code == 2
    assert "results.target.json: was edited after it was written (metrics/forget/probability)" in said


def test_a_table_that_was_purged_is_not_an_edit(run, tmp_path, expunge) -> None:
    assert expunge("purge", run)[0] == 0
    assert not (run / "results.examples.parquet").exists()
    assert expunge("report", run, "--out", tmp_path / "report.html")[0] == 0
