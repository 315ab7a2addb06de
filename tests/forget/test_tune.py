"""The search itself, its trials made up: when it ends, and what it prefers."""

from expunge.data import PromptStyle
from expunge.forget import tune
from expunge.forget.trial import Look, Trial, Yardstick
from expunge.training import Recipe


def yardstick(recovered=True):
    return Yardstick((), {}, {}, PromptStyle(), 0.02, recovered, 0)


def searched(looks, folder, monkeypatch, trials=8):
    """A search whose trials end in these looks, the last one again and again; what it said and chose."""
    left, said = list(looks), []
    monkeypatch.setattr(tune, "run_trial", lambda *_: Trial(left.pop(0) if len(left) > 1 else left[0]))
    recipe = Recipe(model="m", forget="f.jsonl", retain="r.jsonl")
    plan = tune.Search(recipe, tune.objectives_for((), False, recovered=True), (40, 600), 10**6, trials, None, 0)
    return said, tune.search(plan, yardstick(), folder, said.append)


def test_a_search_ends_when_nothing_better_is_found(tmp_path, monkeypatch):
    some, less = Look(0.0, 0.0, 0.0, 0.5), Look(0.0, 0.0, 0.0, 0.4)
    said, choice = searched([some], tmp_path / "a", monkeypatch)
    assert (len(said), choice.number) == (4, 0)  # each objective once, and two more
    said, choice = searched([some, some, some, less], tmp_path / "b", monkeypatch)
    assert (len(said), choice.number) == (6, 3)
    assert len(searched([some], tmp_path / "c", monkeypatch, trials=3)[0]) == 3


def test_what_the_model_made_itself_is_held_by_its_predictions_and_missed_beside():
    assert tune.objectives_for((), False, recovered=True) == ["NPO+KL", "ME+KL"]
    assert tune.objectives_for((), True, recovered=False) == ["RESET", "NPO+GD", "ME+GD"]
    spared, hurt = Look(0.0, 0.0, 0.02, 0.6), Look(0.0, 0.0, 0.1, 0.4)
    assert spared.score(yardstick()) < hurt.score(yardstick())
    assert spared.score(yardstick(recovered=False)) > hurt.score(yardstick(recovered=False))


def test_what_is_said_as_asked_counts_where_all_comes_back_in_any_case():
    said, silent = Look(0.56, 0.006, 0.02, 0.90), Look(0.0, 0.008, 0.02, 0.93)
    assert silent.score(yardstick()) < said.score(yardstick())
    assert Look(-0.1, 0.0, 0.0, 0.5).score(yardstick()) == Look(0.0, 0.0, 0.0, 0.5).score(yardstick())
