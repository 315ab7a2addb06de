"""A page says where the models on it do not belong together."""

import json

from expunge.report import load_comparison
from expunge.report.checks import doubts


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def change_recipe(**settings):
    return lambda results: results.recipe.update(settings)


def said(*runs):
    return " ".join(doubts(load_comparison(runs)))


def test_models_that_belong_together_need_no_caution(make_run):
    assert said(make_run("a"), make_run("b", objective="GA+GD")) == ""


def test_unchanged_weights_are_said(make_run):
    assert "exactly the target's weights: nothing was unlearned" in said(make_run(fingerprint="weights-t"))
    twins = [make_run(name, objective=name, fingerprint="weights-x") for name in ("GA+GD", "NPO+GD")]
    assert "NPO+GD and GA+GD have exactly the same weights" in said(*twins)


def test_a_run_from_another_target_is_said(make_run):
    run = make_run()
    edit(run / "environment.json", lambda e: e["fingerprints"].update(target_model="weights-older"))
    assert "was unlearned from another model (weights-older) than the target shown here (weights-t)" in said(run)


def test_other_tokenizers_settings_and_code_are_said(make_run, change):
    run = make_run()
    retain = run / "results.retain.json"
    change(retain, change_recipe(tokenizer="tokenizer-1", fingerprint="settings-1"))
    assert "retain model and target have different tokenizers" in said(run)
    change(retain, change_recipe(tokenizer="tokenizer-0"))
    assert "retain model and target were measured with different settings" in said(run)
    change(run / "results.json", lambda results: results.code.update(version="9.9"))
    assert "NPO+GD and target were measured by different versions of the code" in said(run)
