"""What is written: no NaN, a reason for every null, whole files; and what is used again: only the very same."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from evaluation.tiny import causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.data import Row, Turn
from expunge.errors import InputError
from expunge.evaluation import load_results, measure
from thinned import thinned


def strict(path) -> dict:
    """Read JSON and refuse the NaN and Infinity that Python would let pass."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """Grows by one whenever rows are really scored."""
    seen: list[int] = []
    real = measure.run_plan

    def counted(*args, **kwargs):
        seen.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(measure, "run_plan", counted)
    return seen


def test_files_and_their_content(model, tokenizer, folder, tmp_path) -> None:
    out = tmp_path / "run" / "results.json"
    evaluate(model, tokenizer, data=folder, retain_model=tiny_model(1), target_model=tiny_model(2), out=out)
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "results.examples.parquet",
        "results.json",
        "results.retain.examples.parquet",
        "results.retain.json",
        "results.target.examples.parquet",
        "results.target.json",
    ]
    raw = strict(out)
    assert raw["schema"] == 1
    assert raw["suite"] == "tofu"
    assert raw["data"]["forget_split"] == "forget10"
    assert raw["data"]["sets"]["forget"]["rows"] == 3
    assert raw["data"]["left_out"] == {}
    probability = raw["metrics"]["forget/probability"]
    assert set(probability) == {"value", "ci95", "n", "better"}
    assert probability["ci95"][0] <= probability["value"] <= probability["ci95"][1]
    assert raw["metrics"]["forget/truth_ratio"]["better"] == "higher"
    assert "forget/token_entropy" not in raw["metrics"]
    assert "forget/fact_accuracy" not in raw["metrics"]
    assert 0 < raw["summary"]["forget_quality"] <= 1
    for key, measured in raw["metrics"].items():
        assert (measured["value"] is None) == ("reason" in measured) == (key in raw["reasons"])
    assert raw["metrics"]["forget/cosine_similarity"]["value"] is None
    assert "--embedding-model" in raw["reasons"]["forget/cosine_similarity"]
    assert "--nli-model" in raw["reasons"]["retain/entailment"]
    assert raw["summary"]["forget_efficacy"] is None
    assert raw["summary_parts"]["forget_efficacy_partial"] == [
        "forget/rougeL_recall",
        "forget/probability",
        "forget/truth_ratio",
    ]
    assert strict(tmp_path / "run" / "results.target.json")["summary"]["forget_quality"] is not None
    table = pq.read_table(out.parent / "results.examples.parquet")
    assert table.column_names[:5] == ["set", "index", "question", "answer", "generation"]
    assert table["index"].to_pylist()[:4] == [0, 1, 2, 0]
    assert load_results(out).to_json() == raw


def test_missing_sets_are_left_out_and_named(model, tokenizer, folder, tmp_path) -> None:
    (folder / "world_facts_perturbed.json").unlink()
    out = tmp_path / "results.json"
    result = evaluate(model, tokenizer, data=folder, out=out)
    raw = strict(out)
    assert list(raw["data"]["left_out"]) == ["world_facts"]
    assert "world_facts_perturbed" in raw["reasons"]["world_facts"]
    assert raw["summary"]["model_utility"] is None
    assert "world_facts/probability" in raw["reasons"]["model_utility"]
    parts = raw["summary_parts"]["model_utility_partial"]
    assert parts == [
        f"{s}/{m}" for s in ("retain", "real_authors") for m in ("probability", "rougeL_recall", "truth_ratio")
    ]
    values = [result.metrics[part].value for part in parts]
    assert raw["summary"]["model_utility_partial"] == pytest.approx(
        0.0 if min(values) == 0 else len(values) / sum(1 / v for v in values)
    )


def test_rows_that_lack_columns_or_words_give_nulls_not_nan(model, tokenizer, tmp_path) -> None:
    bare = [Row((Turn("user", "who is ada"),), "...", {"perturbed_answer": [], "paraphrased_answer": None})]
    out = tmp_path / "results.json"
    evaluate(model, tokenizer, data={"forget": bare, "retain": question_rows(["bob"])}, retain_model=model, out=out)
    raw = strict(out)
    assert raw["metrics"]["forget/truth_ratio"]["value"] is None
    assert raw["metrics"]["forget/truth_ratio"]["n"] == 0
    assert "paraphrased_answer" in raw["reasons"]["forget/truth_ratio"]
    assert raw["metrics"]["forget/rougeL_recall"]["value"] == 0.0
    assert raw["metrics"]["forget/probability"]["ci95"] is None  # one row says nothing of the spread
    assert raw["summary"]["forget_quality"] is None


def test_nothing_but_wrong_columns(model, tokenizer, tmp_path) -> None:
    out = tmp_path / "results.json"
    evaluate(model, tokenizer, data={"world_facts": [Row((Turn("user", "who"),), "ada")]}, out=out)
    raw = strict(out)
    assert raw["metrics"]["world_facts/probability"]["value"] is None
    assert raw["summary"]["forget_efficacy_partial"] is None
    assert raw["reasons"]["forget_efficacy_partial"]


def test_the_same_evaluation_is_not_run_again(model, tokenizer, sets, tmp_path, runs) -> None:
    out = tmp_path / "results.json"
    first = evaluate(model, tokenizer, data=sets, out=out)
    assert len(runs) == 1
    again = evaluate(tiny_model(), tokenizer, data=sets, out=out)  # other object, same weights
    assert len(runs) == 1
    assert again.to_json() == first.to_json()


def test_one_bit_of_the_weights_is_another_model(tokenizer, sets, tmp_path, runs) -> None:
    out = tmp_path / "results.json"
    model = tiny_model()
    before = evaluate(model, tokenizer, data=sets, out=out)
    with torch.no_grad():
        weight = model.model.layers[1].mlp.down_proj.weight
        weight.view(torch.int32)[0, 0] ^= 1
    after = evaluate(model, tokenizer, data=sets, out=out)
    assert len(runs) == 2
    assert after.model.fingerprint != before.model.fingerprint


@pytest.mark.parametrize("changed", thinned(["rows", "suite", "template", "judge", "code"], "rows", "code"))
def test_any_other_difference_is_measured_again(
    model, tokenizer, sets, embedding_model, tmp_path, runs, monkeypatch, changed
) -> None:
    options = {"tokenizer": tokenizer, "data": sets, "out": tmp_path / "results.json"}
    evaluate(model, **options)
    if changed == "rows":
        options["data"] = sets | {"forget": question_rows(["ada", "bob", "dan"])}
    elif changed == "suite":
        options["suite"] = "closer_look"
    elif changed == "template":
        options["tokenizer"] = causal_tokenizer(causal_tokenizer().chat_template.replace("<user> ", "<user> the "))
    elif changed == "judge":
        options["embedding_model"] = embedding_model
    else:
        newer = {"version": "0.1.0", "fingerprint": "another source"}
        monkeypatch.setattr("expunge.evaluation.results.fingerprints.code_section", lambda: newer)
    evaluate(model, **options)
    assert len(runs) == 2


def test_a_table_cut_short_is_measured_again(model, tokenizer, sets, tmp_path, runs) -> None:
    out = tmp_path / "results.json"
    evaluate(model, tokenizer, data=sets, out=out)
    table = tmp_path / "results.examples.parquet"
    table.write_bytes(table.read_bytes()[:200])
    evaluate(model, tokenizer, data=sets, out=out)
    assert len(runs) == 2
    load_results(out)


def test_retain_results_in_place_of_the_model(model, tokenizer, sets, tmp_path) -> None:
    path = tmp_path / "retain.json"
    evaluate(tiny_model(1), tokenizer, data=sets, out=path)
    direct = evaluate(model, tokenizer, data=sets, retain_model=tiny_model(1))
    stored = evaluate(model, tokenizer, data=sets, retain_results=path)
    assert stored.summary.values == direct.summary.values
    with pytest.raises(InputError, match="other rows of the set 'forget'"):
        evaluate(model, tokenizer, data=sets | {"forget": sets["forget"][:2]}, retain_results=path)
    with pytest.raises(InputError, match="not both"):
        evaluate(model, tokenizer, data=sets, retain_results=path, retain_model=model)


def test_forget_split_is_asked_for_where_there_are_several(model, tokenizer, folder) -> None:
    (folder / "forget01_perturbed.json").write_text((folder / "forget10_perturbed.json").read_text())
    with pytest.raises(InputError, match=r"several forget splits: forget01, forget10.*--forget-split"):
        evaluate(model, tokenizer, data=folder)
    assert evaluate(model, tokenizer, data=folder, forget_split="forget01").data.forget_split == "forget01"
    with pytest.raises(InputError, match=r"forget11.*Did you mean 'forget10'"):
        evaluate(model, tokenizer, data=folder, forget_split="forget11")


def test_bad_input_has_a_message(model, tokenizer, sets, folder, tmp_path) -> None:
    with pytest.raises(InputError, match="Did you mean 'tofu'"):
        evaluate(model, tokenizer, suite="tufo", data=sets)
    with pytest.raises(InputError, match="forgetting"):
        evaluate(model, tokenizer, data={"forgetting": sets["forget"]})
    with pytest.raises(InputError, match="has no rows"):
        evaluate(model, tokenizer, data={"forget": []})
    with pytest.raises(InputError, match=r"must end in \.json"):
        evaluate(model, tokenizer, data=sets, out=tmp_path / "results")
    with pytest.raises(InputError, match="tokenizer"):
        evaluate(model, data=sets)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "train.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(InputError, match="none of the sets of suite 'tofu'"):
        evaluate(model, tokenizer, data=tmp_path / "other")
    long = Row((Turn("user", "where " * 300),), "ada")
    with pytest.raises(InputError, match="fills the context"):
        evaluate(model, tokenizer, data={"forget": [*sets["forget"], long]}, out=tmp_path / "results.json")
    assert not list(tmp_path.glob("results*"))


def test_an_nli_model_must_say_which_label_is_entailment(model, tokenizer, sets, tmp_path) -> None:
    from transformers import BertForSequenceClassification

    from evaluation.tiny import bert_folder

    unnamed = bert_folder(tmp_path / "nli", BertForSequenceClassification)
    with pytest.raises(InputError, match="LABEL_0, LABEL_1"):
        evaluate(model, tokenizer, data=sets, nli_model=unnamed)
    with pytest.raises(InputError, match="cannot be loaded"):
        evaluate(model, tokenizer, data=sets, embedding_model=str(tmp_path / "nothing"))


def test_facts_are_reported_where_rows_have_them(model, tokenizer) -> None:
    rows = [Row(r.turns, r.completion, {**r.columns, "fact": "paris"}) for r in question_rows(["ada", "bob"])]
    result = evaluate(model, tokenizer, data={"forget": rows, "retain": question_rows(["dan"])})
    assert result.metrics["forget/fact_accuracy"].n == 2
    assert result.metrics["retain/fact_accuracy"].value is None
    assert "fact" in result.metrics["retain/fact_accuracy"].reason


def test_the_command_line(tokenizer, folder, tmp_path) -> None:
    import typer

    from expunge.cli.eval import evaluate_model, list_metrics

    app = typer.Typer()
    app.command("eval")(evaluate_model)
    app.command("metrics")(list_metrics)
    for name, seed in (("model", 0), ("retain", 1)):
        tiny_model(seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    out = tmp_path / "results.json"
    arguments = [
        "eval",
        "--model",
        tmp_path / "model",
        "--data",
        folder,
        "--retain-model",
        tmp_path / "retain",
        "--out",
        out,
    ]
    ran = CliRunner().invoke(app, [str(a) for a in arguments] + ["--json"], catch_exceptions=False)
    assert ran.exit_code == 0
    assert json.loads(ran.stdout) == strict(out)
    assert strict(out)["summary"]["forget_quality"] is not None
    before = out.read_bytes()
    planned = CliRunner().invoke(app, [str(a) for a in arguments[:5]] + ["--plan", "--json"], catch_exceptions=False)
    work = json.loads(planned.stdout)
    assert 0 < work["rows_scored"] < work["rows_asked_for"]
    assert 0 < work["answers_generated"] < work["answers_asked_for"]
    assert out.read_bytes() == before
    with pytest.raises(InputError, match="--out"):
        CliRunner().invoke(app, [str(a) for a in arguments[:5]], catch_exceptions=False)
    listed = CliRunner().invoke(app, ["metrics"], catch_exceptions=False)
    assert all(name in listed.stdout for name in ("truth_ratio", "fact_accuracy", "2410.08109", "exp(-nll/T)"))
