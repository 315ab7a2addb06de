"""What other prompts ask, what the layers say, and that an attack leaves the model as it was."""

import copy

import numpy as np
import pytest
import torch

import tinymodels as tiny
from attacks.small import PEOPLE, learned
from expunge.attacks import ATTACKS, AttackData, Subject
from expunge.attacks.ask import ask
from expunge.attacks.patching import fact_spans, losses_by_patching, read_states
from expunge.attacks.probe import logit_lens, some_layers, wrong_answers
from expunge.attacks.prompts import PROMPTS, Asked, ask_otherwise
from expunge.data import PromptStyle, Row, Turn, encode_all
from expunge.models import fingerprint

STYLE = PromptStyle()


@pytest.fixture(scope="module")
def knows():
    return learned(PEOPLE)


def quiet(stage, done, of):
    pass


def test_the_plain_question_through_the_prompts_is_what_evaluation_measures(model, tokenizer):
    otherwise = ask_otherwise(model, tokenizer, tiny.FORGET, [Asked(r.turns) for r in tiny.FORGET], STYLE, quiet)
    plainly = ask(model, tokenizer, tiny.FORGET)
    for metric, values in plainly.items():
        np.testing.assert_allclose(otherwise[metric], values, rtol=1e-4, err_msg=metric)


def test_an_answer_that_was_begun_counts_only_what_is_left_of_it(knows, tokenizer):
    begun = [PROMPTS["first_words"](row, ()) for row in PEOPLE]
    assert [one.begun for one in begun[:2]] == ["Ada was", "Bram was"]
    found = ask_otherwise(knows, tokenizer, PEOPLE, begun, STYLE, quiet)
    assert found["exact_memorization"].tolist() == [1] * len(PEOPLE)
    assert found["rougeL_recall"].tolist() == [1] * len(PEOPLE)  # of "born in Tarn.", said after "Ada was"
    three = tiny.qa("Who won?", "Ada Quill did.")
    assert PROMPTS["first_words"](three, ()).begun == "Ada"  # a quarter of three words, and at least one
    # what is given away is not found: here the fact is in the given words
    row = tiny.qa("Where was Ada born?", "Tarn it was, by the river.", fact="Tarn")
    given = ask_otherwise(knows, tokenizer, [row], [PROMPTS["first_words"](row, ())], STYLE, quiet)
    assert np.isnan(given["fact_accuracy"]).all()
    single = tiny.qa("Who?", "Ada")
    assert PROMPTS["first_words"](single, ()) == Asked(single.turns)


def test_few_shots_are_the_nearest_rows_asked_and_answered_before():
    row = tiny.qa("Which river runs through Pell today?", "None.")
    asked = PROMPTS["few_shot"](row, tiny.RETAIN)
    assert [turn.role for turn in asked.turns] == ["user", "assistant"] * 4 + ["user"]
    assert asked.turns[-1] == row.turns[-1]
    assert asked.turns[-3:-1] == (Turn("user", "Which river runs through Pell?"), Turn("assistant", "The Osk."))


def test_every_prompt_asks_the_question(tokenizer):
    row = tiny.qa("Where was Ada Quill born?", "In Tarn.", paraphrased_question="What is Ada Quill's place of birth?")
    for name, make in PROMPTS.items():
        asked = make(row, tiny.RETAIN)
        assert asked != Asked(row.turns), name
        assert all(word in asked.turns[-1].content for word in ("Ada Quill",)), name


def test_the_logit_lens_at_the_last_layer_is_what_the_model_says(knows, tokenizer):
    rows = encode_all(tokenizer, [(row, None) for row in PEOPLE])
    lens = logit_lens(knows, rows, [0, 1], tokenizer.eos_token_id)
    says = ask(knows, tokenizer, PEOPLE)
    np.testing.assert_allclose(lens[1]["probability"], says["probability"], rtol=1e-4)
    np.testing.assert_allclose(lens[1]["exact_memorization"], says["exact_memorization"])
    assert not np.allclose(lens[0]["probability"], lens[1]["probability"], rtol=0.01)


def test_patching_the_last_layer_makes_the_target_say_what_the_other_says(knows, tokenizer):
    other = copy.deepcopy(knows)
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight.mul_(-1)
    rows = [Row(row.turns, row.completion) for row in PEOPLE]  # without a fact: the whole answer is the span
    spans = fact_spans(tokenizer, rows, STYLE, 256)
    assert [span.ids for span in spans] == [r.ids for r in encode_all(tokenizer, [(row, None) for row in rows])]
    cost = losses_by_patching(knows, spans, [0, 1], read_states(other, spans, [0, 1]))
    before, after = (np.log(ask(m, tokenizer, rows)["probability"]) for m in (knows, other))
    np.testing.assert_allclose(cost[:, 1], before - after, rtol=1e-3)
    np.testing.assert_allclose(cost[:, 0], 0, atol=1e-5)  # they differ above it


def test_the_span_of_a_row_that_names_a_fact_is_the_fact(tokenizer):
    spans = fact_spans(tokenizer, PEOPLE, STYLE, 256)
    for row, span in zip(PEOPLE, spans, strict=True):
        text = tokenizer.decode(span.ids[span.start :])
        assert row.columns["fact"] in text
        assert len(text) <= len(row.columns["fact"]) + 2


def test_which_layers_and_which_wrong_answers():
    assert some_layers(32, 4) == [7, 15, 23, 31]
    assert some_layers(3, 4) == [0, 1, 2]
    assert wrong_answers(PEOPLE, 11) == [row.completion for row in PEOPLE[:3]]
    assert wrong_answers([tiny.qa("?", "a", perturbed_answer=["b", "c"])], 0) == ["b", "c"]


def test_no_attack_changes_a_loaded_model_and_each_says_when_it_is_done(knows, tokenizer):
    before, told = fingerprint(knows), []
    data = AttackData(PEOPLE, tiny.RETAIN, tiny.RETAIN)
    for name, attack in ATTACKS.items():
        say = lambda stage, done, of: told.append((done, of))  # noqa: E731
        found = attack.run(Subject("target", knows, data, tokenizer, quick=True, device="cpu", progress=say))
        assert found.rows, name
        assert told[-1][0] == told[-1][1], name
        assert fingerprint(knows) == before, name
    assert {one.setting for one in found.not_measured} == {"int8", "nf4"}  # quantised while loading from a folder


def test_plain_text_is_scored_and_what_asks_does_not_apply(model, tokenizer):
    texts = [Row((), f"{row.prompt} {row.completion}") for row in tiny.FORGET]
    for name, attack in ATTACKS.items():
        found = attack.run(Subject("target", model, AttackData(texts, (), texts[:2]), tokenizer, quick=True))
        if name in ("sample", "prompts"):
            assert "plain text" in found.not_measured[0].reason
        else:
            assert {row.metric for row in found.rows} & {"probability", "mia_loss_auc"}, name
