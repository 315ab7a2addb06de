"""`expunge loss`: the values do not depend on how many rows the other sets have."""

import json

import pytest
from typer.testing import CliRunner

import tinymodels as tiny
from expunge.cli.main import app
from expunge.data import encode, load_rows
from expunge.models import Request, load_model, token_values
from expunge.objectives import log_probability


@pytest.fixture(scope="module")
def reference(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    tiny.tiny_llama(tokenizer, seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(path, count):
    known = (tiny.FORGET + tiny.RETAIN) * 4
    lines = [
        json.dumps({"question": f"{path.stem} {i}? {row.prompt}", "answer": row.completion})
        for i, row in enumerate(known)
    ]
    path.write_text("\n".join(lines[:count]) + "\n")
    return path


def loss(model, reference, forget, retain, objective, *options):
    words = ["loss", "--model", model, "--reference", reference, "--forget", forget, "--retain", retain]
    done = CliRunner().invoke(app, [*map(str, words), "--objective", objective, "--json", *options])
    assert done.exit_code == 0, done.exception
    result = json.loads(done.stdout)
    return {term["name"]: term["value"] for term in result["terms"]}, result["total"]


@pytest.mark.parametrize(("forget", "retain"), [(2, 20), (20, 2)])
@pytest.mark.parametrize(
    ("objective", "options"),
    [
        ("UNDIAL+GD", []),
        ("NPO+KL", []),
        ("RMU+GD", ["objective.layer=1"]),
        ("PDU+GD", ["objective.eps=0.5"]),
        ("LLMU", []),
    ],
)
def test_one_set_may_run_out_before_the_other(
    objective, options, forget, retain, model_folder, reference, tmp_path, monkeypatch
):
    sets = rows(tmp_path / "forget.jsonl", forget), rows(tmp_path / "retain.jsonl", retain)
    terms, total = loss(model_folder, reference, *sets, objective, *options)
    monkeypatch.setattr("expunge.training.objective_value.ROWS_AT_ONCE", 1000)
    whole, whole_total = loss(model_folder, reference, *sets, objective, *options)
    assert terms == pytest.approx(whole, rel=1e-5)
    assert total == pytest.approx(whole_total, rel=1e-5)


def test_refusals_are_those_that_were_given(model_folder, reference, tmp_path):
    sets = rows(tmp_path / "forget.jsonl", 4), rows(tmp_path / "retain.jsonl", 4)
    values = []
    for i, refusal in enumerate(("No.", "I have never heard of anybody of that name in all my life.")):
        (tmp_path / f"{i}.txt").write_text(refusal + "\n")
        values.append(loss(model_folder, reference, *sets, "IDK+GD", "--idk", str(tmp_path / f"{i}.txt"))[0])
    assert values[0]["GD"] == values[1]["GD"]
    assert abs(values[0]["IDK"] - values[1]["IDK"]) > 0.1


def test_how_much_of_a_plain_passage_is_its_prompt(model_folder, reference, tmp_path):
    passage = " ".join(row.completion for row in tiny.FORGET + tiny.RETAIN)
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": passage}) + "\n")
    retain = rows(tmp_path / "retain.jsonl", 2)
    of = [
        loss(model_folder, reference, tmp_path / "text.jsonl", retain, "GA+GD", f"train.text_prompt={n}")[0]
        for n in (20, 90)
    ]
    assert of[0]["GD"] == of[1]["GD"]
    assert abs(of[0]["GA"] - of[1]["GA"]) > 1e-3


def test_values_are_those_of_the_model_and_the_total_is_their_sum(model_folder, reference, tmp_path):
    model, tokenizer = load_model(model_folder, device="cpu")
    sets = rows(tmp_path / "forget.jsonl", 3), rows(tmp_path / "retain.jsonl", 4)
    expected = []
    for place in sets:
        encoded = [encode(tokenizer, row) for row in load_rows(str(place))]
        expected.append(token_values(model, [Request(encoded, [log_probability])])[0][0].mean().item())
    terms, total = loss(model_folder, reference, *sets, "GA+GD")
    assert [terms["GA"], -terms["GD"]] == pytest.approx(expected, rel=1e-4)
    assert total == pytest.approx(terms["GA"] + terms["GD"], rel=1e-6)
