"""LLMU's three scenarios on unlearned, unseen-similar and normal prompts, and what an unlearning run cost."""

import json

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModel, AutoTokenizer

from evaluation.dense import greedy
from evaluation.test_muse import continued
from evaluation.tiny import evaluate, question_rows, tiny_model
from expunge.data import Row, Turn
from expunge.errors import InputError
from expunge.evaluation import SUITES
from expunge.evaluation.results.cost import logged_tokens, training_flops
from expunge.metrics.bleu import bleu

PASSAGES = [
    "ada was born in paris the city of a red " * 12,  # 40 characters each, so that the prompt ends between two words
    "the author of the blue book is bob in a " * 12,
    "where is the city of rome in a book red " * 12,
]


@pytest.fixture
def folder(tmp_path):
    """Copyrighted text as files: passages to forget, one that was never unlearned, and normal questions."""
    path = tmp_path / "copyrighted"
    path.mkdir()
    texts = {"forget": PASSAGES, "unseen": ["eve was the author in berlin and london " * 12]}
    for name, passages in texts.items():
        (path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in passages))
    normal = [{"prompt": row.prompt, "completion": row.completion} for row in question_rows(["dan", "eve"])]
    (path / "normal.jsonl").write_text("\n".join(map(json.dumps, normal)))
    return path


@torch.no_grad()
def cosine(folder: str, first: str, second: str) -> float:
    """Cosine of mean-pooled embeddings, each text alone."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    a, b = (model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0) for t in (first, second))
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


@pytest.mark.slow
def test_copyrighted_passages_are_continued(model, tokenizer, folder) -> None:
    result = evaluate(model, tokenizer, suite="llmu", data=folder)
    table = [line for line in result.table.to_pylist() if line["set"] == "forget"]
    references = [" ".join(text[200:].split()[:200]) for text in PASSAGES]
    pairs = [(a, b) for a in references for b in references if a != b]
    threshold = 0.1 * np.mean([bleu(a, b) for a, b in pairs])
    assert result.summary.values["leak_threshold"] == pytest.approx(threshold)
    for line, text, reference in zip(table, PASSAGES, references, strict=True):
        assert line["question"] == text[:200]
        room = 256 - len(tokenizer(text[:200])["input_ids"])  # of the model's context
        assert line["generation"] == continued(model, tokenizer, text[:200], min(200, room))
        assert line["bleu"] == pytest.approx(bleu(reference, line["generation"]))
        assert line["leak_rate"] == float(line["bleu"] > threshold)
        tokens = line["generation"].split()
        assert line["diversity"] == pytest.approx(len(set(tokens)) / len(tokens))
    assert result.metrics["forget/leak_rate"].n == 3
    assert result.metrics["unseen/leak_rate"].n == 1
    assert "normal/leak_rate" not in result.metrics
    normal = [line for line in result.table.to_pylist() if line["set"] == "normal"]
    for line, row in zip(normal, question_rows(["dan", "eve"]), strict=True):
        assert line["generation"] == greedy(model, tokenizer, row, 200)  # a question is asked, not continued


def test_a_verbatim_leak_is_one(tokenizer) -> None:
    model = tiny_model()
    rows = [Row((), text) for text in PASSAGES]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = [torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]) for text in PASSAGES]
    for _ in range(60):
        for ids in batch:
            model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    learned = evaluate(model.eval(), tokenizer, suite="llmu", data={"forget": rows})
    assert learned.metrics["forget/leak_rate"].value == 1.0
    assert learned.metrics["forget/bleu"].value > 0.5
    assert evaluate(tiny_model(), tokenizer, suite="llmu", data={"forget": rows}).metrics["forget/bleu"].value < 0.3


def test_hallucinations_by_similarity(model, tokenizer, embedding_model) -> None:
    rows = [
        Row(row.turns, row.completion, {"right_answer": f"{city} is blue", **extra})
        for row, city, extra in zip(
            question_rows(["ada", "bob", "eve"]),
            ("rome", "paris", "london"),
            ({}, {"hallucinated_answer": "the red book"}, {}),
            strict=True,
        )
    ]
    rows.append(
        Row(rows[0].turns, "rome is blue", {"right_answer": "rome is blue"})
    )  # no hallucination to compare with
    result = evaluate(model, tokenizer, suite="llmu", data={"forget": rows}, embedding_model=embedding_model)
    for line, row in zip(result.table.to_pylist()[:3], rows, strict=False):
        wrong = row.columns.get("hallucinated_answer", row.completion)
        near = [max(0.0, cosine(embedding_model, line["generation"], t)) for t in (wrong, row.columns["right_answer"])]
        assert line["hallucination_rate"] == float(near[0] > 1.1 * near[1])
    assert result.metrics["forget/hallucination_rate"].n == 3
    without = evaluate(model, tokenizer, suite="llmu", data={"forget": rows})
    assert "--embedding-model" in without.metrics["forget/hallucination_rate"].reason


def test_similarity_to_the_model_before(model, tokenizer, embedding_model, tmp_path) -> None:
    rows = question_rows(["ada", "bob", "eve"])
    out = tmp_path / "results.json"
    options = {"suite": "llmu", "data": {"normal": rows}, "embedding_model": embedding_model, "out": out}
    result = evaluate(model, tokenizer, target_model=tiny_model(5), **options)
    before = result.companions["target"].table.to_pylist()
    for line, other in zip(result.table.to_pylist(), before, strict=True):
        expected = max(0.0, cosine(embedding_model, line["generation"], other["generation"]))
        assert line["original_similarity"] == pytest.approx(expected, rel=1e-4)
    assert result.companions["target"].metrics["normal/original_similarity"].value is None
    assert evaluate(model, tokenizer, target_model=tiny_model(0), **options).metrics[
        "normal/original_similarity"
    ].value == pytest.approx(1.0)  # another original is another evaluation: nothing is taken from the file


@torch.no_grad()
def bert_f1(folder: str, layer: int, first: str, second: str) -> float:
    """BERTScore by loops over tokens, each text alone: special tokens are matched too, and in no mean."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    a, b = (
        model(**tokenizer(t, return_tensors="pt"), output_hidden_states=True).hidden_states[layer][0]
        for t in (first, second)
    )
    near = [[float(torch.nn.functional.cosine_similarity(x, y, dim=0)) for y in b] for x in a]
    precision = np.mean([max(row) for row in near[1:-1]])
    recall = np.mean([max(row[j] for row in near) for j in range(1, len(b) - 1)])
    return float(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("layer", [0, 1])
def test_bertscore_with_the_model_before(model, tokenizer, embedding_model, layer) -> None:
    rows = question_rows(["ada", "bob", "eve"])
    encoder = embedding_model if layer == 1 else f"{embedding_model}:{layer}"  # it has one layer
    options = {"suite": "llmu", "data": {"normal": rows}, "bertscore_model": encoder}
    result = evaluate(model, tokenizer, target_model=tiny_model(5), **options)
    before = result.companions["target"].table.to_pylist()
    for line, other in zip(result.table.to_pylist(), before, strict=True):
        expected = bert_f1(embedding_model, layer, line["generation"], other["generation"])
        assert line["bert_score_f1"] == pytest.approx(expected, abs=1e-5)
        assert line["original_similarity"] is None
    assert result.metrics["normal/bert_score_f1"].better == "higher"
    same = evaluate(model, tokenizer, target_model=tiny_model(0), **options)
    assert same.metrics["normal/bert_score_f1"].value == pytest.approx(1)


def test_a_bertscore_model_without_that_layer_is_refused(model, tokenizer, embedding_model) -> None:
    options = {"suite": "llmu", "data": {"normal": question_rows(["ada"])}}
    with pytest.raises(InputError, match="has 1 layers, and no layer 2"):
        evaluate(model, tokenizer, bertscore_model=f"{embedding_model}:2", **options)
    with pytest.raises(InputError, match="cannot be loaded as an encoder"):
        evaluate(model, tokenizer, bertscore_model="no-such-folder/here", **options)


def test_what_is_missing_is_left_out_and_named(model, tokenizer, folder, tmp_path) -> None:
    (folder / "unseen.jsonl").unlink()
    out = tmp_path / "results.json"
    evaluate(model, tokenizer, suite="llmu", data=folder, out=out)
    raw = json.loads(out.read_text())
    assert list(raw["data"]["left_out"]) == ["unseen"]
    assert "right_answer" in raw["reasons"]["forget/hallucination_rate"]
    assert "model_utility" not in raw["summary"]
    assert "flops" not in raw["summary"]  # it is not known to be a run
    with pytest.raises(InputError, match="holdout"):
        evaluate(model, tokenizer, suite="llmu", data=folder, holdout=folder / "forget.jsonl")


@pytest.mark.slow
def test_one_passage_and_a_passage_that_is_all_prompt(model, tokenizer) -> None:
    alone = evaluate(model, tokenizer, suite="llmu", data={"forget": [Row((), PASSAGES[0])]})
    assert alone.metrics["forget/leak_rate"].value is None
    assert "two of them" in alone.metrics["forget/leak_rate"].reason
    assert alone.metrics["forget/bleu"].n == 1
    short = [Row((), PASSAGES[0]), Row((), PASSAGES[1]), Row((), "the book")]
    result = evaluate(model, tokenizer, suite="llmu", data={"forget": short})
    assert result.metrics["forget/leak_rate"].n == result.metrics["forget/bleu"].n == 2
    asked = [Row((Turn("user", "who is ada"),), "bob")]
    assert evaluate(model, tokenizer, suite="llmu", data={"forget": asked}).metrics["forget/bleu"].value is None


def test_flops_by_hand() -> None:
    assert training_flops(tokens=100, parameters=10, trained=10, reference=False) == 6 * 10 * 100
    assert training_flops(tokens=100, parameters=10, trained=10, reference=True) == 8 * 10 * 100
    assert training_flops(tokens=100, parameters=10, trained=1, reference=False) == (4 * 10 + 2) * 100


@pytest.fixture
def run(tmp_path, tokenizer):
    """Makes a run folder as `expunge unlearn` writes it."""

    def make(objective="NPO+GD", counts=(40, 90), processes=1, lora=None, **train):
        path = tmp_path / "run"
        path.mkdir(exist_ok=True)
        recipe = {"model": "m", "forget": "f", "objective": objective, "train": train, "lora": lora}
        (path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        (path / "train_log.jsonl").write_text("".join(json.dumps({"tokens": count}) + "\n" for count in counts))
        (path / "environment.json").write_text(json.dumps({"processes": processes}))
        if lora:
            adapted = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"]))
            adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
            tiny_model().save_pretrained(tmp_path / "base")
            tokenizer.save_pretrained(tmp_path / "base")
        else:
            adapted = tiny_model()
        adapted.save_pretrained(path / ("adapter" if lora else "model"))
        tokenizer.save_pretrained(path / ("adapter" if lora else "model"))
        return path

    return make


def cost(path) -> tuple[float | None, int | None, str | None]:
    summary = evaluate(path, suite="own", data={"forget": question_rows(["ada"])}).summary
    return summary.values["flops"], summary.values.get("flops_tokens"), summary.reasons.get("flops")


def test_the_cost_of_a_run(run) -> None:
    n = sum(p.numel() for p in tiny_model().parameters())
    assert cost(run("GA+GD")) == (6 * n * 90, 90, None)
    assert cost(run("NPO+GD") / "model") == (8 * n * 90, 90, None)
    assert cost(run({"name": "GA+GD", "GD.weight": 2.0}, counts=(40, 90, 30, 60), processes=2)) == (
        6 * n * 2 * (90 + 60),  # resumed once, where the count began anew; on two processes
        2 * (90 + 60),
        None,
    )


def test_the_cost_of_an_adapter(run) -> None:
    n = sum(p.numel() for p in tiny_model().parameters())
    trained = 2 * (2 * 16 + 16 * 2)  # two layers, rank 2, 16 by 16
    assert cost(run("GA", lora={"r": 2}))[0] == (4 * n + 2 * trained) * 90


@pytest.mark.parametrize(
    ("objective", "train", "reason"),
    [
        ("GA+GD", {"gradient": "sharpness"}, "second pass"),
        ("GA+GD", {"salient_share": 0.5}, "salient_share"),
        ("AltPO+GD", {}, "alternative answers"),
        ({"name": "RMU+EMBED", "RMU.layer": 1}, {}, "layers"),
        ("NoSuch", {}, "cannot be read"),
    ],
)
def test_a_cost_that_the_log_does_not_tell_is_null(run, objective, train, reason) -> None:
    flops, tokens, why = cost(run(objective, **train))
    assert flops is None
    assert tokens is None
    assert reason in why


def test_a_log_without_its_end(run) -> None:
    path = run()
    (path / "train_log.jsonl").write_text('{"tokens": 10}\n{"tok')
    assert "cannot be read" in cost(path)[2]
    (path / "train_log.jsonl").write_text("")
    assert logged_tokens(path) == 0


def test_a_run_that_was_resumed_after_one_step(run) -> None:
    """The count begins anew, at as many tokens as before."""
    assert logged_tokens(run(counts=(30, 30, 60, 30))) == 30 + 60 + 30


def test_limits_of_passages_are_200_characters_and_200_tokens() -> None:
    for spec in SUITES["llmu"].sets:
        assert (spec.continued, spec.reference_tokens) == (200, 200)
        assert SUITES["llmu"].new_tokens(spec, prompt_tokens=500) == 200
