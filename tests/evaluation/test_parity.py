"""Every value of the table against a dense, readable reference, and the aggregates as the papers write them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from evaluation.dense import greedy, nll
from evaluation.tiny import causal_tokenizer, evaluate, tiny_model
from expunge.evaluation import SUITES
from expunge.metrics.probability import PROBABILITY
from expunge.metrics.rouge import rouge_l_recall

RETAINED = ("retain", "real_authors", "world_facts")


@pytest.fixture(scope="module")
def results(model, tokenizer, sets, embedding_model, nli_model):
    """Both suites; small batches, so that padding and the order of rows matter if anything does."""
    options = {"data": sets, "embedding_model": embedding_model, "nli_model": nli_model, "batch_tokens": 40}
    return {
        suite: evaluate(model, tokenizer, suite=suite, retain_model=tiny_model(1), **options)
        for suite in ("tofu", "closer_look")
    }


def rows_of(result, name: str) -> list[dict]:
    return [row for row in result.table.to_pylist() if row["set"] == name]


def test_probability_and_truth_ratio(results, model, tokenizer, sets) -> None:
    for suite in results:
        for name, rows in sets.items():
            for row, found in zip(rows, rows_of(results[suite], name), strict=True):
                own = math.exp(-nll(model, tokenizer, row, row.completion))
                wrong = [nll(model, tokenizer, row, text) for text in row.columns["perturbed_answer"]]
                choices = name in ("real_authors", "world_facts")
                expected = own / (own + sum(math.exp(-w) for w in wrong)) if choices else own
                assert found["probability"] == pytest.approx(expected, rel=1e-4)
                paraphrase = row.completion if choices else row.columns["paraphrased_answer"]
                expected = math.exp(np.mean(wrong) - nll(model, tokenizer, row, paraphrase))
                assert found["truth_ratio"] == pytest.approx(expected, rel=1e-4)


def test_a_share_among_choices_needs_no_truth_ratio_beside_it(results, model, tokenizer, sets) -> None:
    suite = replace(SUITES["tofu"], metrics=(PROBABILITY,), utility=(), efficacy=())
    alone = evaluate(model, tokenizer, suite=suite, data=sets)
    for name in ("forget", "real_authors"):
        key = f"{name}/probability"
        assert alone.metrics[key].value == pytest.approx(results["tofu"].metrics[key].value)


def test_greedy_answers_and_what_is_read_off_them(results, model, tokenizer, sets) -> None:
    lengths = []
    for suite, limit in (("tofu", 200), ("closer_look", None)):
        for name, rows in sets.items():
            for row, found in zip(rows, rows_of(results[suite], name), strict=True):
                prompt = tokenizer.apply_chat_template(
                    [{"role": "user", "content": row.prompt}], add_generation_prompt=True, return_dict=True
                )["input_ids"]
                text = greedy(model, tokenizer, row, limit or 200 - len(prompt))
                lengths.append(len(text.split()))
                assert found["generation"] == text
                assert found["rougeL_recall"] == pytest.approx(rouge_l_recall(row.completion, text))
                words = text.split()
                if name in RETAINED:
                    counts = np.array([words.count(w) for w in sorted(set(words))]) / max(len(words), 1)
                    entropy = -(counts * np.log2(counts)).sum() / np.log2(len(words)) if len(words) > 1 else 0.0
                    assert found["token_entropy"] == pytest.approx(entropy, abs=1e-12)
                else:
                    assert found["token_entropy"] is None
    assert len(set(lengths)) > 2  # answers of different lengths left their batches at different times


@torch.no_grad()
def test_similarity_and_entailment_one_text_at_a_time(results, sets, embedding_model, nli_model) -> None:
    embedder, tokenizer = AutoModel.from_pretrained(embedding_model), AutoTokenizer.from_pretrained(embedding_model)
    nli = AutoModelForSequenceClassification.from_pretrained(nli_model)
    verdicts = []

    def embed(text: str) -> torch.Tensor:
        return embedder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)

    for name, rows in sets.items():
        for row, found in zip(rows, rows_of(results["tofu"], name), strict=True):
            choices = name in ("real_authors", "world_facts")
            truth = row.columns["original_answer"] if choices else row.completion
            output = found["generation"]
            cosine = torch.cosine_similarity(embed(output), embed(truth), dim=0).item()
            assert found["cosine_similarity"] == pytest.approx(max(0.0, cosine), abs=1e-5)
            premise, hypothesis = (output, truth) if name == "forget" else (truth, output)
            label = nli(**tokenizer(premise, hypothesis, return_tensors="pt")).logits.argmax().item()
            expected = label == 1 and rouge_l_recall(row.completion, output) >= 0.1
            assert found["entailment"] == float(expected)
            verdicts.append(label == 1)
    assert any(verdicts)


def test_aggregates(results, model, tokenizer, sets) -> None:
    for suite, result in results.items():
        values = {key: m.value for key, m in result.metrics.items()}
        for name in sets:
            table = rows_of(result, name)
            wrong_over_right = np.array([1 / row["truth_ratio"] for row in table])  # r' of TOFU's code
            if name == "forget":
                closest = np.minimum(wrong_over_right, 1 / wrong_over_right).mean()
                expected = closest if suite == "tofu" else 1 - closest
            else:
                expected = np.maximum(0, 1 - wrong_over_right).mean()
            assert values[f"{name}/truth_ratio"] == pytest.approx(expected)
            for metric in ("probability", "rougeL_recall", "cosine_similarity", "entailment"):
                assert values[f"{name}/{metric}"] == pytest.approx(np.mean([row[metric] for row in table]))
                assert result.metrics[f"{name}/{metric}"].n == len(sets[name])
        parts = ["probability", "rougeL_recall", "truth_ratio"]
        if suite == "closer_look":
            parts += ["token_entropy", "cosine_similarity", "entailment"]
        numbers = [values[f"{name}/{part}"] for name in RETAINED for part in parts]
        utility = 0.0 if min(numbers) == 0 else stats.hmean(numbers)
        assert result.summary.values["model_utility"] == pytest.approx(utility)
        truth_ratio = values["forget/truth_ratio"] if suite == "closer_look" else 1 - values["forget/truth_ratio"]
        shown = [
            truth_ratio,
            *(values[f"forget/{m}"] for m in ("rougeL_recall", "probability", "cosine_similarity", "entailment")),
        ]
        assert result.summary.values["forget_efficacy"] == pytest.approx(1 - np.mean(shown))


def test_forget_quality_is_against_the_retain_model(results) -> None:
    for result in results.values():
        ours, theirs = (
            [1 / row["truth_ratio"] for row in rows_of(r, "forget")] for r in (result, result.companions["retain"])
        )
        test = stats.ks_2samp(ours, theirs)
        assert ours != theirs
        assert result.summary.values["forget_quality"] == pytest.approx(test.pvalue)
        assert result.summary.values["forget_quality_ks_distance"] == pytest.approx(test.statistic)
        assert result.summary.values["forget_quality_n"] == len(ours)
        assert result.companions["retain"].summary.values["forget_quality"] is None


def test_the_end_of_turn_counts_once_whatever_the_template_writes_after_it(model, sets) -> None:
    """The word after <eos> stands for the newline that many templates write there."""
    one_end = evaluate(model, causal_tokenizer(), data={"forget": sets["forget"]})
    template = causal_tokenizer().chat_template.replace("<eos>'", "<eos> red'")
    text_after = evaluate(model, causal_tokenizer(template), data={"forget": sets["forget"]})
    assert one_end.metrics == text_after.metrics
