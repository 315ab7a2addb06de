"""The search itself, its trials made up: when it ends, and what it prefers."""

from expunge.data import PromptStyle
from expunge.forget import tune
from expunge.forget.trial import Look, Trial, Yardstick
from expunge.training import Recipe


def yardstick(recovered=True):
    return Yardstick((), {}, {}, PromptStyle(), 0.02, recovered, 0)


def look(known=0.0, at_most=0.2, beside=0.0, back=0.5, lost=0.0):
    """What a trial saw; nothing known, and nothing lost."""
    return Look(known, at_most, lost, beside, back)


def searched(looks, folder, monkeypatch, trials=8):
    """A search whose trials end in these looks, the last one again and again; what it said and chose."""
    left, said = list(looks), []
    monkeypatch.setattr(tune, "run_trial", lambda *_: Trial(left.pop(0) if len(left) > 1 else left[0]))
    recipe = Recipe(model="m", forget="f.jsonl", retain="r.jsonl")
    plan = tune.Search(recipe, tune.objectives_for((), False, recovered=True), (40, 600), 10**6, trials, None, 0)
    return said, tune.search(plan, yardstick(), folder, said.append)


def test_a_search_ends_when_nothing_better_is_found(tmp_path, monkeypatch):
    some, less = look(), look(back=0.4)
    said, choice = searched([some], tmp_path / "a", monkeypatch)
    assert (len(said), choice.number) == (4, 0)  # each objective once, and two more
    said, choice = searched([some, some, some, less], tmp_path / "b", monkeypatch)
    assert (len(said), choice.number) == (6, 3)
    assert len(searched([some], tmp_path / "c", monkeypatch, trials=3)[0]) == 3


def test_what_the_model_made_itself_is_held_by_its_predictions_and_missed_beside():
    assert tune.objectives_for((), False, recovered=True) == ["NPO+KL", "ME+KL"]
    assert tune.objectives_for((), True, recovered=False) == ["RESET", "NPO+GD", "ME+GD"]
    spared, hurt = look(beside=0.02, back=0.6), look(beside=0.1, back=0.4)
    assert spared.score(yardstick()) < hurt.score(yardstick())
    assert spared.score(yardstick(recovered=False)) > hurt.score(yardstick(recovered=False))


def test_what_must_hold_comes_before_what_comes_back_and_what_is_lost_beside():
    said, silent = look(0.17, 0.32, beside=0.02, back=0.9), look(0.07, 0.2, beside=0.05, back=0.94)
    assert silent.score(yardstick()) < said.score(yardstick())
    dear = look(lost=0.1, beside=0.0, back=0.8)
    assert silent.score(yardstick(recovered=False)) < dear.score(yardstick(recovered=False))
    # within both limits, how far within is not weighed
    assert look(0.0, 0.1).score(yardstick()) == look(0.1, 0.24).score(yardstick())
