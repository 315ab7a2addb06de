"""Results of the retain model are compared with only where it was asked with the same prompts, or the doubt is told."""

import json

import pytest

from evaluation.tiny import causal_tokenizer, evaluate, tiny_model
from expunge.data import PromptStyle
from expunge.evaluation.passes.generate import stop_tokens
from signed import change

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<user> ' + m['content'] + ' <bot>' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' <eos>' }}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def own_tokenizer():
    return causal_tokenizer(TEMPLATE)


def test_another_system_prompt_is_not_compared_silently(model, own_tokenizer, folder, tmp_path):
    retain = evaluate(tiny_model(1), own_tokenizer, data=folder, out=tmp_path / "retain.json", system="the author")
    alike = evaluate(model, own_tokenizer, data=folder, retain_results=tmp_path / "retain.json", system="the author")
    assert alike.summary.values["forget_quality"] is not None
    assert alike.metrics["forget/mia_reference"].value is not None
    other = evaluate(model, own_tokenizer, data=folder, retain_results=tmp_path / "retain.json")
    for name in ("forget_quality", "privleak"):
        assert other.summary.values[name] is None
        assert "other prompts (" in other.summary.reasons[name]
        assert "the author" in other.summary.reasons[name]
    assert other.metrics["forget/mia_reference"].value is None
    assert retain.recipe["fingerprint"] != other.recipe["fingerprint"]
    assert retain.recipe["prompts"]["system"] == "the author"


def test_results_that_do_not_say_how_they_were_asked_are_flagged(model, own_tokenizer, folder, tmp_path):
    out = tmp_path / "retain.json"
    evaluate(tiny_model(1), own_tokenizer, data=folder, out=out)
    change(out, lambda raw: raw["recipe"].pop("prompts"))
    with pytest.warns(UserWarning, match="do not say with which chat template"):
        results = evaluate(model, own_tokenizer, data=folder, retain_results=out, out=tmp_path / "results.json")
    assert results.summary.values["forget_quality"] is not None
    assert "system prompt" in json.loads((tmp_path / "results.json").read_text())["reasons"]["retain_prompts"]


def test_answers_end_where_the_given_template_ends_them(model, tokenizer):
    template = TEMPLATE.replace("' <eos>'", "' <unk>'")
    ends = tokenizer.convert_tokens_to_ids("<unk>")
    assert ends not in stop_tokens(model, tokenizer)
    assert ends in stop_tokens(model, tokenizer, PromptStyle(template))


def test_every_model_of_an_evaluation_is_asked_alike_and_the_answers_change(model, own_tokenizer, folder):
    plain, asked = (
        evaluate(
            model, own_tokenizer, data=folder, retain_model=tiny_model(1), target_model=tiny_model(2), system=system
        )
        for system in (None, "the author")
    )
    for results in (asked, *asked.companions.values()):
        assert results.recipe["prompts"]["system"] == "the author"
    assert plain.metrics["forget/probability"].value != asked.metrics["forget/probability"].value
    same = [one.examples["generation"].to_pylist() for one in (plain, asked)]
    assert same[0] != same[1]
