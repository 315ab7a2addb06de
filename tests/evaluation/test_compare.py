"""Paired differences: their values, intervals, directions, and what is refused."""

import csv
import json

import numpy as np
import pytest
import torch
import typer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from evaluation.tiny import evaluate, question_rows, tiny_model
from expunge.errors import InputError
from expunge.evaluation import load_results
from expunge.evaluation.compare import Difference, as_csv, as_html, as_markdown, compare
from expunge.evaluation.results.table import column_of
from expunge.metrics.bootstrap import draws


@pytest.fixture(scope="module")
def files(tokenizer, sets, tmp_path_factory):
    """Two models on the same rows, with a holdout."""
    folder = tmp_path_factory.mktemp("compared")
    data = sets | {"holdout": question_rows(["city", "red", "a"])}
    for seed in (0, 1):
        evaluate(tiny_model(seed), tokenizer, data=data, out=folder / f"run{seed}" / "results.json")
    return [folder / "run0" / "results.json", folder / "run1"]  # a file, and a run folder


def test_differences_are_paired_over_rows(files) -> None:
    found = {d.key: d for d in compare(files)}
    first, other = (json.loads(p.read_text())["metrics"] for p in (files[0], files[1] / "results.json"))
    for key in ("forget/probability", "retain/truth_ratio", "forget/mia_loss", "forget/extraction_strength"):
        assert found[key].first == pytest.approx(first[key]["value"])
        assert found[key].other == pytest.approx(other[key]["value"])
        assert found[key].difference == pytest.approx(other[key]["value"] - first[key]["value"])
        assert found[key].name == "run1"
    assert "forget/mia_reference" not in found
    assert "forget/cosine_similarity" not in found


def test_the_interval_is_that_of_the_difference(files) -> None:
    ours, theirs = (
        column_of(load_results(p).table, "forget", "probability") for p in (files[0], files[1] / "results.json")
    )
    resampled = draws(3) @ (theirs - ours) / 3
    found = {d.key: d for d in compare(files)}["forget/probability"]
    assert found.ci95 == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())


@pytest.mark.slow
def test_the_interval_of_a_membership_difference(files) -> None:
    drawn = []
    for path in (files[0], files[1] / "results.json"):
        scores = [column_of(load_results(path).table, name, "mia_loss") for name in ("forget", "holdout")]
        labels = [1] * 3 + [0] * 3
        counts = np.concatenate([draws(3), draws(3, stream=1)], axis=1)
        drawn.append([roc_auc_score(labels, -np.concatenate(scores), sample_weight=line) for line in counts])
    found = {d.key: d for d in compare(files)}["forget/mia_loss"]
    assert found.ci95 == pytest.approx(np.quantile(np.subtract(drawn[1], drawn[0]), [0.025, 0.975]).tolist())
    assert found.n == 6


def test_one_row_tells_nothing_of_the_noise_in_a_membership_difference(tokenizer, tmp_path) -> None:
    data = {"forget": question_rows(["ada"]), "holdout": question_rows(["city", "red", "a"])}
    for seed in (0, 1):
        evaluate(tiny_model(seed), tokenizer, data=data, out=tmp_path / f"run{seed}" / "results.json")
    found = [d for d in compare([tmp_path / "run0", tmp_path / "run1"]) if d.key.startswith("forget/mia_")]
    assert any(d.difference for d in found)
    assert [(d.ci95, d.verdict, d.n) for d in found] == [(None, "within noise", 4)] * len(found)


def test_the_interval_of_a_summarys_difference(files) -> None:
    """Forget efficacy over the parts there are: 1 - their mean, other - first."""
    drawn = []
    for path in (files[0], files[1] / "results.json"):
        table = load_results(path).table
        ratio = column_of(table, "forget", "truth_ratio")
        parts = [column_of(table, "forget", name) for name in ("rougeL_recall", "probability")]
        parts.append(1 - np.minimum(ratio, 1 / ratio))
        drawn.append(1 - np.mean([draws(3) @ part / 3 for part in parts], axis=0))
    found = {d.key: d for d in compare(files)}["forget_efficacy_partial"]
    assert found.ci95 == pytest.approx(np.quantile(drawn[1] - drawn[0], [0.025, 0.975]).tolist())
    assert found.difference == pytest.approx(found.other - found.first)


def test_summaries_over_other_parts_are_not_compared(files, tokenizer, sets, embedding_model, tmp_path) -> None:
    data = sets | {"holdout": question_rows(["city", "red", "a"])}
    evaluate(tiny_model(), tokenizer, data=data, embedding_model=embedding_model, out=tmp_path / "results.json")
    keys = {d.key for d in compare([files[0], tmp_path])}
    assert "forget_efficacy_partial" not in keys
    assert "model_utility" in keys


def test_a_model_does_not_differ_from_itself(files) -> None:
    for difference in compare([files[0], files[0]]):
        assert difference.difference == 0.0
        assert difference.ci95 in (None, (0.0, 0.0))
        assert difference.verdict == "within noise"


@pytest.mark.parametrize(
    ("better", "interval", "verdict"),
    [
        ("lower", (-0.4, -0.2), "better"),
        ("lower", (0.2, 0.4), "worse"),
        ("higher", (-0.4, -0.2), "worse"),
        ("higher", (0.2, 0.4), "better"),
        ("closer_to_reference", (0.2, 0.4), "differs"),
        ("closer_to_reference", (-0.4, -0.2), "differs"),
        ("lower", (-0.7, 0.1), "within noise"),
        ("higher", (-0.1, 0.7), "within noise"),
        ("higher", None, "within noise"),
    ],
)
def test_directions(better, interval, verdict) -> None:
    difference = 0.3 if interval is None else sum(interval) / 2
    found = Difference("other", "forget/metric", 0.5, 0.5 + difference, difference, interval, 40, better)
    assert found.verdict == verdict


def test_a_model_that_lost_what_it_knew_is_better_on_the_forget_set_alone(files, tokenizer, sets, tmp_path) -> None:
    """The head is shrunk, so that every answer becomes about as likely as any other."""
    model = tiny_model()
    answers = [tokenizer.convert_tokens_to_ids(word) for word in ("was", "born", "in")]
    with torch.no_grad():
        model.lm_head.weight[answers] *= -8
    data = sets | {"holdout": question_rows(["city", "red", "a"])}
    evaluate(model, tokenizer, data=data, out=tmp_path / "results.json")
    found = {d.key: d for d in compare([files[0], tmp_path])}
    assert found["forget/probability"].difference < 0
    assert found["retain/probability"].difference < 0
    assert (found["forget/probability"].verdict, found["retain/probability"].verdict) == ("better", "worse")


def test_formats_and_the_command(files, tmp_path) -> None:
    from expunge.cli.compare import compare as command

    found = compare(files)
    app = typer.Typer()
    app.command()(command)
    for suffix, writer in ((".md", as_markdown), (".csv", as_csv), (".html", as_html)):
        out = tmp_path / f"table{suffix}"
        ran = CliRunner().invoke(app, [*map(str, files), "--out", str(out)], catch_exceptions=False)
        assert ran.exit_code == 0
        assert out.read_text() == writer(found)
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert len(rows) == len(found)
    assert float(rows[0]["difference"]) == found[0].difference
    assert as_markdown(found).count("\n") == len(found) + 2
    with pytest.raises(InputError, match=r"\.md, \.csv, \.html"):
        CliRunner().invoke(app, [*map(str, files), "--out", "table.pdf"], catch_exceptions=False)


def test_what_cannot_be_compared(files, model, tokenizer, sets, tmp_path) -> None:
    with pytest.raises(InputError, match="Two results or more"):
        compare(files[:1])
    other = tmp_path / "other.json"
    evaluate(model, tokenizer, data=sets | {"forget": question_rows(["dan", "bob", "eve"])}, out=other)
    with pytest.raises(InputError, match="different rows of the set 'forget'"):
        compare([files[0], other])
    evaluate(model, tokenizer, suite="closer_look", data=sets, out=other)
    with pytest.raises(InputError, match="'closer_look'"):
        compare([files[0], other])
    with pytest.raises(InputError, match="cannot be read"):
        compare([files[0], tmp_path / "nothing.json"])


def test_html_escapes_names(files, tmp_path) -> None:
    odd = tmp_path / "<script>.json"
    for suffix in (".json", ".examples.parquet"):
        odd.with_suffix(suffix).write_bytes(files[0].with_suffix(suffix).read_bytes())
    page = as_html(compare([files[0], odd]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
