"""Outputs judged by other models: classifiers, a reward model, perplexity. The judges are tiny real models."""

import gc
import math
import weakref

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)
from typer.testing import CliRunner

from evaluation.tiny import bert_folder, causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.data import Row, Turn
from expunge.errors import InputError
from expunge.evaluation import SUITES, compare, measure
from expunge.evaluation.judges import parse_classifiers
from expunge.evaluation.judges.base import InTurn
from expunge.evaluation.judges.classifier import labels
from expunge.evaluation.judges.fluency import output_nlls
from expunge.evaluation.judges.texts import classify, load_classifier

LABELS = {0: "clean", 1: "noise", 2: "Word Salad"}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> str:
    return bert_folder(tmp_path_factory.mktemp("gibberish"), BertForSequenceClassification, id2label=LABELS)


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory) -> str:
    return bert_folder(tmp_path_factory.mktemp("reward"), BertForSequenceClassification, num_labels=1)


@pytest.fixture(scope="module")
def fluency_model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("fluency")
    tiny_model(7).save_pretrained(folder)
    causal_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    return {"forget": question_rows(["ada", "bob", "eve", "dan"]), "retain": question_rows(["red", "blue"])}


@torch.no_grad()
def logits(folder: str, *text: str) -> torch.Tensor:
    """A classifier's outputs for one text or pair, alone."""
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    return model(**AutoTokenizer.from_pretrained(folder)(*text, return_tensors="pt")).logits[0]


@torch.no_grad()
def perplexity(folder: str, text: str) -> float:
    """exp of the token-mean loss after the token that begins a document, by transformers' own loss."""
    model, tokenizer = LlamaForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
    return math.exp(model(input_ids=ids, labels=ids).loss)


def lines(result, name: str) -> list[dict]:
    return [line for line in result.table.to_pylist() if line["set"] == name]


def test_share_and_probability_of_a_label(model, tokenizer, rows, classifier) -> None:
    given = {"gibberish": (classifier, "noise"), "salad": (classifier, "word salad")}
    result = evaluate(model, tokenizer, suite="own", data=rows, classifiers=given)
    for line in result.table.to_pylist():
        share = logits(classifier, line["generation"]).softmax(-1)
        empty = not line["generation"].strip()
        for name, label in (("gibberish", 1), ("salad", 2)):
            expected = 0.0 if empty else float(share[label])
            assert line[f"{name}_probability"] == pytest.approx(expected, rel=1e-4)
            assert line[f"{name}_rate"] == float(not empty and int(share.argmax()) == label)
    measured = result.metrics["forget/gibberish_rate"]
    assert measured.value == pytest.approx(sum(line["gibberish_rate"] for line in lines(result, "forget")) / 4)
    assert (measured.n, measured.better) == (4, "lower")
    assert len({line["gibberish_probability"] for line in result.table.to_pylist()}) > 1  # they do differ
    assert result.metrics["retain/salad_rate"].better == "closer_to_reference"
    assert result.recipe["classifiers"]["salad"]["label"] == "word salad"


def test_a_moderator_reads_prompt_and_output(model, tokenizer, rows, classifier) -> None:
    given = {"harmful": (classifier, "noise"), "gibberish": (classifier, "noise")}
    result = evaluate(model, tokenizer, suite="own", data=rows, classifiers=given, moderators=frozenset({"harmful"}))
    for line in (line for line in result.table.to_pylist() if line["generation"].strip()):
        pair = logits(classifier, line["question"], line["generation"]).softmax(-1)
        assert line["harmful_probability"] == pytest.approx(float(pair[1]), rel=1e-4)
        alone = logits(classifier, line["generation"]).softmax(-1)
        assert line["gibberish_probability"] == pytest.approx(float(alone[1]), rel=1e-4) != line["harmful_probability"]
    assert result.recipe["classifiers"]["harmful"]["reads"] == "prompt and output"


def test_labels_that_do_not_exclude_each_other(model, tokenizer, rows, tmp_path) -> None:
    settings = {"id2label": LABELS, "problem_type": "multi_label_classification"}
    several = bert_folder(tmp_path / "several", BertForSequenceClassification, **settings)
    one = bert_folder(tmp_path / "one", BertForSequenceClassification, id2label={0: "toxic"})
    given = {"noise": (several, "noise"), "harmful": (one, "toxic")}
    result = evaluate(model, tokenizer, suite="own", data=rows, classifiers=given)
    for line in (line for line in result.table.to_pylist() if line["generation"].strip()):
        for name, folder, label in (("noise", several, 1), ("harmful", one, 0)):
            share = float(logits(folder, line["generation"])[label].sigmoid())
            assert line[f"{name}_probability"] == pytest.approx(share, rel=1e-4)
            assert line[f"{name}_rate"] == float(share >= 0.5)


def test_a_label_of_several_is_carried_from_a_half_on(classifier, monkeypatch) -> None:
    judge = load_classifier(classifier, "noise")
    judge.model.config.problem_type = "multi_label_classification"
    chances = torch.tensor([0.49, 0.51, 0.59, 0.9])
    logits = [torch.tensor([9.0, float(logit), 9.0]) for logit in chances.logit()]
    monkeypatch.setattr("expunge.evaluation.judges.classifier.classify", lambda judge, texts: logits[: len(texts)])
    assert [label.carried for label in labels(judge, [("a",), ("b",), ("c",), ("d",)])] == [False, True, True, True]


@torch.no_grad()
def test_a_classifier_reads_as_many_tokens_as_it_can(tmp_path) -> None:
    folder = bert_folder(tmp_path, BertForSequenceClassification, id2label=LABELS, max_position_embeddings=8)
    model, words = BertForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    text = "red blue the a book of paris in rome is who what"
    expected = model(**words(text, truncation=True, max_length=8, return_tensors="pt")).logits[0]
    [found] = classify(load_classifier(folder, "noise"), [(text,)])
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_perplexity_is_of_what_the_judge_can_read(tokenizer) -> None:
    model = tiny_model(7)
    words = ["red", "blue", "the", "a", "book"] * 100
    read = " ".join(words[:255])  # a context of 256 tokens, one of which begins the document
    long, short = output_nlls(model, tokenizer, [" ".join(words), read])
    assert long == pytest.approx(short)


@torch.no_grad()
@pytest.mark.parametrize("padding", [None, 2])
def test_a_decoder_as_reward_model(model, tokenizer, rows, tmp_path, padding) -> None:
    torch.manual_seed(0)
    config = tiny_model().config
    config.num_labels, config.pad_token_id = 1, padding
    judge, words = LlamaForSequenceClassification(config).eval(), causal_tokenizer()
    judge.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    result = evaluate(model, tokenizer, suite="llmu", data={"normal": rows["forget"]}, reward_model=str(tmp_path))
    for line in result.table.to_pylist():
        expected = judge(**words(line["question"], line["generation"], return_tensors="pt")).logits[0, 0]
        assert line["reward"] == pytest.approx(float(expected), rel=1e-3)


def test_perplexity_of_outputs(model, tokenizer, rows, fluency_model) -> None:
    result = evaluate(model, tokenizer, data=rows, fluency_model=fluency_model)  # suite tofu: added because asked for
    measured = [line for line in result.table.to_pylist() if line["perplexity"] is not None]
    assert len(measured) == sum(bool(line["generation"].strip()) for line in result.table.to_pylist()) > 0
    for line in measured:
        assert line["perplexity"] == pytest.approx(perplexity(fluency_model, line["generation"]), rel=1e-3)
    assert result.metrics["retain/perplexity"].better == "lower"


def test_a_reward_model_sees_prompt_and_output(model, tokenizer, rows, reward_model) -> None:
    result = evaluate(model, tokenizer, suite="llmu", data={"normal": rows["forget"]}, reward_model=reward_model)
    for line in result.table.to_pylist():
        expected = float(logits(reward_model, line["question"], line["generation"])[0])
        assert line["reward"] == pytest.approx(expected, rel=1e-4)
    assert result.metrics["normal/reward"].better == "higher"


def test_judges_that_were_not_given_are_null_with_the_option_to_give_them(model, tokenizer, rows) -> None:
    own = evaluate(model, tokenizer, suite="own", data=rows)
    for name, option in (("gibberish_rate", "--classifier gibberish="), ("perplexity", "--fluency-model")):
        assert own.metrics[f"forget/{name}"].value is None
        assert option in own.metrics[f"forget/{name}"].reason
    llmu = evaluate(model, tokenizer, suite="llmu", data={"forget": rows["forget"], "normal": rows["retain"]})
    for key, option in (
        ("forget/harmful_rate", "--classifier harmful="),
        ("forget/perplexity", "--fluency-model"),
        ("normal/reward", "--reward-model"),
        ("normal/original_similarity", "--target-model"),
        ("normal/bert_score_f1", "--bertscore-model"),
    ):
        assert llmu.metrics[key].value is None
        assert option in llmu.metrics[key].reason


def test_a_text_without_a_token_has_no_likelihood(model, tokenizer) -> None:
    blank, said = output_nlls(model, tokenizer, ["  ", "ada"])
    assert blank is None
    assert said is not None


def test_empty_answers_have_defined_results(tokenizer, rows, classifier, reward_model, fluency_model) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every logit alike: the first token, which is no text
    judges = {
        "classifiers": {"harmful": (classifier, "noise")},
        "reward_model": reward_model,
        "fluency_model": fluency_model,
    }
    data = {"forget": rows["forget"], "normal": rows["retain"][:1]}
    result = evaluate(model, tokenizer, suite="llmu", data=data, **judges)
    assert {line["generation"] for line in result.table.to_pylist()} == {""}
    assert result.metrics["forget/harmful_rate"].value == result.metrics["forget/diversity"].value == 0.0
    assert result.metrics["forget/perplexity"].value is None
    assert "not empty" in result.metrics["forget/perplexity"].reason
    assert math.isfinite(result.metrics["normal/reward"].value)
    result.to_json()


def test_the_model_is_gone_before_a_large_judge_comes(rows, classifier, fluency_model, tmp_path, monkeypatch) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    causal_tokenizer().save_pretrained(tmp_path / "model")
    alive: list[weakref.ref] = []
    seen: list[bool] = []
    load = measure.load_model

    def remembered(*args, **options):
        model, tokenizer = load(*args, **options)
        alive.append(weakref.ref(model))
        return model, tokenizer

    ask = InTurn.ask

    def watched(*args):
        seen.append(any(ref() is not None for ref in alive))
        return ask(*args)

    monkeypatch.setattr(measure, "load_model", remembered)
    monkeypatch.setattr(InTurn, "ask", watched)
    options = {"classifiers": {"gibberish": (classifier, "noise")}, "fluency_model": fluency_model}
    gc.disable()  # what is freed must be gone by then without luck
    try:
        evaluate(tmp_path / "model", suite="own", data=rows, target_model=tmp_path / "model", **options)
    finally:
        gc.enable()
    assert len(alive) == 2
    assert seen == [False] * 4


@pytest.mark.slow
def test_another_judge_is_another_evaluation(model, tokenizer, rows, classifier, fluency_model, tmp_path) -> None:
    out = tmp_path / "results.json"

    def fingerprints(**judges) -> str:
        return evaluate(model, tokenizer, suite="own", data=rows, out=out, **judges).recipe["fingerprint"]

    first = fingerprints(classifiers={"gibberish": (classifier, "noise")})
    other_label = fingerprints(classifiers={"gibberish": (classifier, "clean")})
    assert len({first, other_label, fingerprints(), fingerprints(fluency_model=fluency_model)}) == 4


@pytest.mark.slow
def test_results_with_judges_are_compared(model, tokenizer, rows, classifier, fluency_model, tmp_path) -> None:
    judges = {"classifiers": {"salad": (classifier, "word salad")}, "fluency_model": fluency_model}
    for name, one in (("a", model), ("b", tiny_model(3))):
        evaluate(one, tokenizer, data=rows, out=tmp_path / f"{name}.json", **judges)
    found = {d.key: d for d in compare.compare([tmp_path / "a.json", tmp_path / "b.json"])}
    assert found["forget/salad_probability"].n == 4
    assert "forget/perplexity" in found


@pytest.mark.parametrize("given", ["gibberish", "gibberish=folder", "a b=folder:noise", "=folder:noise", "x=:noise"])
def test_a_classifier_that_is_not_spelled_right(given) -> None:
    with pytest.raises(InputError, match="NAME=MODEL:LABEL"):
        parse_classifiers([given])


def test_bad_judges_have_a_message(model, tokenizer, rows, classifier, tmp_path) -> None:
    assert parse_classifiers(["g=a/b:noise", "h=./c:d:e"]) == {"g": ("a/b", "noise"), "h": ("./c:d", "e")}
    with pytest.raises(InputError, match="given twice"):
        parse_classifiers(["g=a:b", "g=c:d"])
    with pytest.raises(InputError, match="Did you mean 'noise'"):
        evaluate(model, tokenizer, suite="own", data=rows, classifiers={"gibberish": (classifier, "noice")})
    with pytest.raises(InputError, match="cannot be loaded"):
        evaluate(model, tokenizer, suite="own", data=rows, classifiers={"gibberish": (str(tmp_path / "no"), "noise")})
    with pytest.raises(InputError, match=r"one output, this one has 3.*--classifier"):
        evaluate(model, tokenizer, suite="llmu", data={"normal": rows["retain"]}, reward_model=classifier)
    with pytest.raises(InputError, match="no such model folder"):
        evaluate(model, tokenizer, suite="own", data=rows, fluency_model=str(tmp_path / "no"))
    tiny_model().save_pretrained(tmp_path / "causal")
    causal_tokenizer().save_pretrained(tmp_path / "causal")
    headless = {"gibberish": (str(tmp_path / "causal"), "LABEL_1")}  # its head would be random numbers
    with pytest.raises(InputError, match=r"not a trained sequence classifier.*score\.weight"):
        evaluate(model, tokenizer, suite="own", data=rows, classifiers=headless)
    with pytest.raises(InputError, match="no answers to judge"):
        evaluate(model, tokenizer, suite="wmdp", classifiers={"gibberish": (classifier, "noise")})
    with pytest.raises(InputError, match="'leak_rate' would have the name of another"):
        evaluate(model, tokenizer, suite="llmu", data=rows, classifiers={"leak": (classifier, "noise")})


@pytest.mark.slow
def test_long_outputs_and_rows_without_a_prompt(tokenizer, classifier, fluency_model) -> None:
    model = tiny_model()
    model.config.max_position_embeddings = 2048
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # another token always has a higher logit
    suite = SUITES["own"]
    rows = {"forget": [Row((Turn("user", "who is ada"),), "ada " * 1000), Row((), "red blue " * 20)]}
    judges = {"classifiers": {"gibberish": (classifier, "noise")}, "fluency_model": fluency_model}
    result = evaluate(model, tokenizer, suite=suite, data=rows, **judges)
    asked, plain = lines(result, "forget")
    assert len(asked["generation"].split()) > 150  # of 200 tokens: special ones are no text
    assert asked["perplexity"] == pytest.approx(perplexity(fluency_model, asked["generation"]), rel=1e-3)
    assert plain["gibberish_rate"] is None  # it was not asked anything
    assert result.metrics["forget/gibberish_rate"].n == 1


def test_the_command_line(rows, classifier, fluency_model, tmp_path) -> None:
    import json

    from expunge.cli.main import app

    tiny_model().save_pretrained(tmp_path / "model")
    causal_tokenizer().save_pretrained(tmp_path / "model")
    data = tmp_path / "forget.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": r.prompt, "completion": r.completion}) for r in rows["forget"]))
    words = ["eval", "--model", tmp_path / "model", "--suite", "own", "--data", data, "--out", tmp_path / "r.json"]
    words += ["--classifier", f"gibberish={classifier}:noise", "--moderator", f"salad={classifier}:word salad"]
    words += ["--fluency-model", fluency_model, "--json"]
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    found = json.loads(done.stdout)["metrics"]
    assert all(found[f"forget/{m}"]["n"] == 4 for m in ("gibberish_rate", "salad_rate", "salad_probability"))
    assert found["forget/perplexity"]["value"] > 1
    read = {name: one.get("reads") for name, one in json.loads(done.stdout)["recipe"]["classifiers"].items()}
    assert read == {"gibberish": None, "salad": "prompt and output"}
