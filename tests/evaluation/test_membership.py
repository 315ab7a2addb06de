"""Membership inference and memorisation through the whole evaluation, against a dense reference."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from evaluation.dense import nll, token_logprobs
from evaluation.tiny import evaluate, question_rows, tiny_model
from expunge.errors import InputError
from expunge.evaluation import SUITES
from expunge.metrics.bootstrap import draws
from expunge.metrics.membership import MIA_GRADNORM, MIA_MIN_K_PLUS_PLUS, MIA_ZLIB

ATTACKS = ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus", "mia_gradnorm")


@pytest.fixture(scope="module")
def data(sets):
    return {"forget": sets["forget"], "retain": sets["retain"], "holdout": question_rows(["z", "0", "london", "who"])}


@pytest.fixture(scope="module")
def results(model, tokenizer, data):
    return evaluate(model, tokenizer, data=data, retain_model=tiny_model(3), batch_tokens=40)


def column(results, name: str, metric: str) -> list[float]:
    return [row[metric] for row in results.table.to_pylist() if row["set"] == name]


def dense_scores(model, tokenizer, row) -> dict[str, float]:
    """Every attack's score of one row, read from full distributions, end of turn last."""
    logp, targets = token_logprobs(model, tokenizer, row, row.completion)
    chosen = logp.gather(-1, targets[:, None])[:, 0]
    text = tokenizer.decode(targets, skip_special_tokens=True)
    mean = (logp.exp() * logp).sum(-1)
    variance = (logp.exp() * logp**2).sum(-1) - mean**2
    normalised = (chosen - mean) / variance.clamp(min=1e-6).sqrt()
    lowest = max(1, int(0.4 * (len(targets) - 1)))
    return {
        "mia_loss": float(-chosen.mean()),
        "mia_zlib": float(-chosen.mean()) / len(zlib.compress(text.encode())),
        "mia_min_k": float(chosen[:-1].sort().values[:lowest].mean()),
        "mia_min_k_plus_plus": float(normalised[:-1].sort().values[:lowest].mean()),
        "mia_gradnorm": gradient_norm(model, tokenizer, row),
    }


def gradient_norm(model, tokenizer, row) -> float:
    from expunge.data import encode

    encoded = encode(tokenizer, row)
    ids = encoded.ids[:-1]  # as in the released code, the end of turn is left out
    logits = model(torch.tensor([ids])).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[encoded.start - 1 : -1], torch.tensor(ids[encoded.start :]))
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return float(torch.stack([g.norm() for g in gradients]).mean())


def test_scores_and_their_auc(results, model, tokenizer, data) -> None:
    expected = {name: [dense_scores(model, tokenizer, row) for row in data[name]] for name in ("forget", "holdout")}
    labels = [1] * len(data["forget"]) + [0] * len(data["holdout"])
    for attack in ATTACKS:
        scores = [row[attack] for name in ("forget", "holdout") for row in expected[name]]
        found = [v for name in ("forget", "holdout") for v in column(results, name, attack)]
        assert found == pytest.approx(scores, rel=1e-3)
        sign = 1 if "min_k" in attack else -1  # these are log-probabilities, the others losses
        measured = results.metrics[f"forget/{attack}"]
        expected_auc = roc_auc_score(labels, sign * np.array(scores))
        assert abs(expected_auc - 0.5) > 0.05  # else a score taken the wrong way round would not be seen
        assert measured.value == pytest.approx(expected_auc)
        assert measured.n == len(labels)
        assert measured.better == "closer_to_reference"
    assert "holdout/mia_loss" not in results.metrics
    assert "retain/mia_loss" not in results.metrics


def test_the_reference_attack_takes_off_the_retain_models_loss(results, model, tokenizer, data) -> None:
    other = tiny_model(3)
    rows = [*data["forget"], *data["holdout"]]
    scores = [nll(model, tokenizer, r, r.completion) - nll(other, tokenizer, r, r.completion) for r in rows]
    labels = [1] * len(data["forget"]) + [0] * len(data["holdout"])
    expected = roc_auc_score(labels, -np.array(scores))
    own = [nll(model, tokenizer, r, r.completion) for r in rows]
    added = roc_auc_score(labels, np.array(scores) - 2 * np.array(own))  # as if the losses were added up
    assert len({round(expected, 3), 0.5, round(added, 3)}) == 3  # another sign would give another number
    assert results.metrics["forget/mia_reference"].value == pytest.approx(expected)
    assert results.companions["retain"].metrics["forget/mia_reference"].value is None


def test_memorisation_against_the_dense_pass(results, model, tokenizer, data) -> None:
    for name in ("forget", "retain"):
        for i, row in enumerate(data[name]):
            logp, targets = token_logprobs(model, tokenizer, row, row.completion)
            greedy = (logp.argmax(-1) == targets)[:-1].tolist()
            assert column(results, name, "exact_memorization")[i] == pytest.approx(np.mean(greedy))
            k = next((k for k in range(len(greedy)) if all(greedy[k:])), len(greedy) - 1)
            assert column(results, name, "extraction_strength")[i] == pytest.approx(1 - k / len(greedy))
            right = np.exp(-nll(model, tokenizer, row, row.columns["paraphrased_answer"]))
            wrong = np.exp(-np.mean([nll(model, tokenizer, row, text) for text in row.columns["perturbed_answer"]]))
            assert column(results, name, "probability_gap")[i] == pytest.approx(right / (right + wrong), rel=1e-4)


def test_privleak_compares_with_the_retain_model(results) -> None:
    ours = results.metrics["forget/mia_min_k"].value
    theirs = results.companions["retain"].metrics["forget/mia_min_k"].value
    expected = 100 * ((1 - ours) - (1 - theirs)) / (1 - theirs)
    assert results.summary.values["privleak"] == pytest.approx(expected)
    assert len(results.summary.ci95["privleak"]) == 2
    assert "--retain-model" in results.companions["retain"].summary.reasons["privleak"]


def test_an_attack_needs_no_other_one(results, model, tokenizer, data) -> None:
    """zlib reads the answer's text, min-k++ the moments: each must ask for it by itself."""
    for attack in (MIA_ZLIB, MIA_MIN_K_PLUS_PLUS, MIA_GRADNORM):
        suite = replace(SUITES["tofu"], metrics=(attack,), utility=(), efficacy=())
        alone = evaluate(model, tokenizer, suite=suite, data=data).metrics[f"forget/{attack.name}"]
        assert alone.value == pytest.approx(results.metrics[f"forget/{attack.name}"].value)


@pytest.mark.slow
def test_the_interval_of_privleak(results) -> None:
    """Both models' AUCs over the same resamples of rows, by scikit-learn with counts as weights."""
    drawn = []
    for found in (results, results.companions["retain"]):
        scores = [column(found, name, "mia_min_k") for name in ("forget", "holdout")]
        labels = [1] * len(scores[0]) + [0] * len(scores[1])
        counts = np.concatenate([draws(len(scores[0])), draws(len(scores[1]), stream=1)], axis=1)
        drawn.append([1 - roc_auc_score(labels, [*scores[0], *scores[1]], sample_weight=line) for line in counts])
    ours, theirs = np.array(drawn)
    shares = 100 * (ours - theirs)[theirs > 0] / theirs[theirs > 0]
    assert results.summary.ci95["privleak"] == pytest.approx(np.quantile(shares, [0.025, 0.975]).tolist())


def test_without_a_holdout_nothing_is_run_for_it(model, tokenizer, sets) -> None:
    result = evaluate(model, tokenizer, data={"forget": sets["forget"]})
    for attack in (*ATTACKS, "mia_reference"):
        assert result.metrics[f"forget/{attack}"].value is None
        assert "--holdout" in result.metrics[f"forget/{attack}"].reason
        assert set(column(result, "forget", "mia_loss")) == {None}
    assert "--holdout" in result.summary.reasons["privleak"]


def test_gradients_leave_the_model_as_it_was(tokenizer, data) -> None:
    model = tiny_model()
    frozen = model.model.embed_tokens.weight
    frozen.requires_grad_(False)
    model.lm_head.weight.grad = torch.ones_like(model.lm_head.weight)
    evaluate(model, tokenizer, data=data)
    assert not frozen.requires_grad
    assert model.lm_head.weight.requires_grad
    assert (model.lm_head.weight.grad == 1).all()
    assert model.model.norm.weight.grad is None


def test_holdout_from_the_folder_or_from_a_spec(model, tokenizer, folder) -> None:
    found = evaluate(model, tokenizer, data=folder)
    assert found.data.sets["holdout"].rows == 2
    assert found.metrics["forget/mia_loss"].value is not None
    given = evaluate(model, tokenizer, data=folder, holdout=f"{folder}:world_facts_perturbed")
    assert given.data.sets["holdout"].fingerprint == given.data.sets["world_facts"].fingerprint
    with pytest.raises(InputError, match="no metric that needs a holdout"):
        evaluate(model, tokenizer, suite="closer_look", data=folder, holdout=f"{folder}:holdout10")


def published_log(path, truth_ratios: list[float], auc: float):
    """A log in OpenUnlearning's layout: r' = wrong / right per row, the AUC where 1 is `forget more likely`."""
    by_index = {str(i): {"score": score} for i, score in enumerate(truth_ratios)}
    log = {
        "forget_truth_ratio": {"agg_value": 0.6, "value_by_index": by_index},
        "mia_min_k": {"agg_value": auc, "auc": auc, "forget": {}, "holdout": {}},
        "model_utility": {"agg_value": 0.6},
    }
    path.write_text(json.dumps(log))
    return path


def test_a_published_log_in_place_of_the_retain_model(model, tokenizer, data, results, tmp_path) -> None:
    retain = results.companions["retain"]
    ratios = [1 / r for r in column(retain, "forget", "truth_ratio")]
    auc = retain.metrics["forget/mia_min_k"].value
    log = published_log(tmp_path / "TOFU_EVAL.json", ratios, auc)
    compared = evaluate(model, tokenizer, data=data, retain_results=log, out=tmp_path / "results.json")
    for name in ("forget_quality", "forget_quality_ks_distance", "privleak"):
        assert compared.summary.values[name] == pytest.approx(results.summary.values[name])
    assert compared.metrics["forget/mia_reference"].value is None
    assert not (tmp_path / "results.retain.json").exists()
    with pytest.raises(InputError, match="2 rows there, 3 here"):
        evaluate(model, tokenizer, data=data, retain_results=published_log(log, ratios[:2], auc))
    log.write_text(json.dumps({"forget_truth_ratio": {"agg_value": 0.5}}))
    with pytest.raises(InputError, match="value_by_index"):
        evaluate(model, tokenizer, data=data, retain_results=log)
