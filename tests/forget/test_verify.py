"""`expunge verify`: verdicts that agree with how the models were made, and that nothing around the weights moves."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tinymodels as tiny
from expunge.attacks.ask import ask
from expunge.cli.main import main
from expunge.evaluation.results.seal import check_seal
from expunge.forget.controls import controls
from expunge.forget.knowledge import METRICS, known, with_controls
from forget.small import FORGET, LATER, RETAIN, born, learned, save

REFUSING = "{% for m in messages %}<|assistant|>I cannot say.<|end|>{% endfor %}<|user|>?<|end|><|assistant|>"


def target_of(home):
    return AutoModelForCausalLM.from_pretrained(home / "target").eval()


@pytest.fixture
def judged(home, tmp_path, monkeypatch, capsys):
    """Run `expunge verify`; returns verdict.json and what was printed."""

    def run(model, target=None, forget="forget", retain="keep", options=()):
        words = ["expunge", "verify", "--model", model, "--target", target or home / "target", "--device", "cpu"]
        words += ["--forget", home / f"{forget}.jsonl", "--quiet", "--out", tmp_path / "verdict"]
        words += options
        words += [] if retain is None else ["--retain", home / f"{retain}.jsonl"]
        monkeypatch.setattr("sys.argv", list(map(str, words)))
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        file = tmp_path / "verdict" / "verdict.json"
        document = json.loads(file.read_text())
        check_seal(file, document)
        return document, capsys.readouterr().out

    return run


def statuses(document):
    return [row["status"] for row in document["rows"]]


def test_a_model_that_never_saw_the_rows_has_forgotten_them(home, judged):
    document, said = judged(home / "retain")
    assert document["overall"] == "forgotten"
    assert document["utility_loss"] < 0.1
    assert [row["row"] for row in document["rows"]] == list(range(len(FORGET)))
    assert all(row["known_before"] for row in document["rows"])
    assert statuses(document).count("forgotten") >= 0.9 * len(FORGET)
    assert "Verdict: forgotten" in said
    text = json.dumps(document)
    assert "Adra" not in text
    assert "Tarn" not in text


@pytest.mark.slow
def test_without_retain_rows_nothing_is_called_forgotten(home, judged):
    document, said = judged(home / "retain", retain=None)
    assert document["overall"] == "inconclusive"
    assert document["utility_loss"] is None
    assert "--retain" in said


@pytest.mark.slow
def test_rows_that_must_stay_and_that_the_target_never_knew_show_nothing(home, judged, tmp_path):
    """A model that lost all it knew of others would look as if it had kept them."""
    names = [name + "e" for name in LATER[:30]]
    lines = [json.dumps({"question": row.prompt, "answer": row.completion, **row.columns}) for row in born(names, 2)]
    (home / "strangers.jsonl").write_text("\n".join(lines) + "\n")
    document, said = judged(home / "retain", retain="strangers")
    assert document["evidence"]["utility_loss"]["value"] < 0.1
    assert document["overall"] == "inconclusive"
    assert "the target knows no more of the rows that must stay than of controls" in said.replace("\n", " ")


def test_a_target_that_never_knew_has_nothing_to_forget(home, judged):
    document, _ = judged(home / "target", target=home / "retain")
    assert document["overall"] == "nothing_to_forget"
    assert set(statuses(document)) == {"not_known"}


def test_weights_that_hardly_moved_still_know(home, judged, tmp_path):
    model = target_of(home)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.0001)
    document, _ = judged(save(model, tmp_path / "scaled"))
    assert document["overall"] == "not_forgotten"
    assert set(statuses(document)) == {"still_known"}


@pytest.mark.slow
def test_a_chat_template_that_refuses_forgets_nothing(home, judged, tmp_path):
    document, said = judged(save(target_of(home), tmp_path / "refusing", REFUSING))
    assert document["overall"] == "not_forgotten"
    assert set(statuses(document)) == {"still_known"}
    assert "chat template differs" in said


@pytest.mark.slow
def test_an_output_filter_forgets_nothing(home, judged, tmp_path):
    """Generation settings in the folder that suppress every word of the answers."""
    model = target_of(home)
    words = AutoTokenizer.from_pretrained(home / "target")
    folder = save(model, tmp_path / "filtered")
    said = [row.completion for row in FORGET]
    model.generation_config.suppress_tokens = sorted({i for text in said for i in words(text)["input_ids"]})
    model.generation_config.save_pretrained(folder)
    document, _ = judged(folder)
    assert document["overall"] == "not_forgotten"
    assert set(statuses(document)) == {"still_known"}


def test_noise_that_breaks_the_model_is_damage(home, judged, tmp_path):
    model = target_of(home)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(weight.std() * torch.randn(weight.shape, generator=generator))
    document, _ = judged(save(model, tmp_path / "noisy"))
    assert document["overall"] == "model_damaged"
    assert document["utility_loss"] > 0.3


def test_a_few_rows_are_too_few(home, judged):
    document, said = judged(home / "retain", forget="few")
    assert document["overall"] == "inconclusive"
    assert "fewer than 5" in said


def test_what_a_step_of_relearning_on_other_rows_brings_back_was_not_forgotten(home, judged, tmp_path):
    wrong = born([row.prompt.split()[2] for row in FORGET], 5)  # taught another town, for a few steps
    both = [row for pair in zip(wrong, RETAIN + RETAIN[:10], strict=True) for row in pair]
    model = learned(both, 12, target_of(home), 1e-3)
    document, _ = judged(save(model, tmp_path / "suppressed"))
    before, after = (document["evidence"][name]["value"] for name in ("known_after", "known_after_relearning"))
    assert before < 0.6
    assert after > before + 0.3
    assert document["overall"] in ("not_forgotten", "partly")
    assert "weaker" in statuses(document)


def test_two_known_rows_are_relearned_a_few_steps_as_they_were_asked(home, judged, monkeypatch):
    attacks = []
    monkeypatch.setattr("expunge.forget.settings.relearn", lambda *_, **options: attacks.append(options) or [])
    judged(home / "target", forget="two", options=("--system", "Be brief.", "--seed", 7))
    assert [(one["steps"], one["seed"], one["style"].system) for one in attacks] == [((1, 5, 20), 7, "Be brief.")] * 2
    attacks.clear()
    judged(home / "target", forget="one")  # there is no other row to learn from
    assert not attacks


@pytest.mark.slow
def test_rows_that_were_never_known_are_told_from_those_that_were(home, judged, tmp_path):
    half = save(learned(FORGET[:20] + RETAIN, 250), tmp_path / "half")
    document, _ = judged(home / "retain", target=half)
    before = [row["known_before"] for row in document["rows"]]
    assert np.mean(before[:20]) >= 0.95
    assert np.mean(before[20:]) <= 0.2  # a guess among nine towns is right now and then: counted as chance
    assert all(s == "not_known" for s, was in zip(statuses(document), before, strict=True) if not was)


def test_controls_are_the_same_sentence_about_something_else():
    [first, *_] = controls(FORGET[:1], [FORGET])
    assert set(first) == {f"Adra was born in {town}." for town in {r.columns["fact"] for r in FORGET} - {"Tarn"}}
    assert all(text.startswith("Adra was born in ") and "Tarn" not in text for text in first)
    # without a fact: of a question of the same form, the answer with this one's name
    named = [
        tiny.qa(f"Where was {n} born?", f"{n} was born in a {place}.") for n, place in (("Ada", "barn"), ("Bo", "hut"))
    ]
    assert controls(named[:1], [named]) == [["Ada was born in a hut."]]
    # of another form: what is particular in the answer
    other = [
        tiny.qa("What did Ada win?", "It was the Heron Prize."),
        tiny.qa("Where does Bo live?", "Bo lives in Pell."),
    ]
    assert controls(other[:1], [other]) == [["It was the Pell."]]
    own = tiny.qa("Who?", "Ada.", perturbed_answer=["Bo.", "Cy."])
    assert controls([own], [[]]) == [["Bo.", "Cy."]]


def test_a_retain_model_knows_no_more_of_the_rows_than_chance(home):
    from expunge.models import load_model

    model, words = load_model(home / "retain", device="cpu")
    values = ask(model, words, with_controls(FORGET), metrics=METRICS)
    assert known(values).mean() <= 0.05
    assert abs((values["margin"] > 0).mean() - 1 / 9) < 0.15  # one of nine answers is the likeliest
