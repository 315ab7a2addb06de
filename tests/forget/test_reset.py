"""RESET without `objective.reset`: it is chosen by trials on retain rows, once, and the run says which and why."""

import json
from itertools import product

import pytest
import yaml

import tinymodels as tiny
from expunge.data import load_rows
from expunge.forget import reset as choosing
from expunge.forget.pseudo import pseudo_request
from expunge.training import UnlearningTrainer

from .small import WORDS, learned

ASKED = {"born": "Where was {} born?", "lives": "Where does {} live?", "eats": "Where does {} eat?"}
NAMES = [a + b for a, b in product(("Ad", "Bra", "Cle", "Do", "Es", "Fi"), ("ra", "lin", "mo", "vik", "sha"))]
TOWNS = ["Tarn", "Pell", "Osk", "Maren", "Brill", "Quay", "Thorn"]


def people(names, shift=0):
    """Three rows about each."""
    return [
        tiny.qa(question.format(name), f"{name} {verb} in {TOWNS[(3 * i + j + shift) % len(TOWNS)]}.")
        for i, name in enumerate(names)
        for j, (verb, question) in enumerate(ASKED.items())
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A target that knows its rows, a base that does not, and the sets."""
    folder = tmp_path_factory.mktemp("removal")
    sets = {"forget": people(NAMES[:2]), "retain": people(NAMES[2:20]), "holdout": people(NAMES[20:24], 2)}
    sets["other"] = [tiny.qa(row.prompt, row.completion[::-1]) for row in sets["forget"]]
    for name, rows in sets.items():
        lines = [json.dumps({"question": row.prompt, "answer": row.completion}) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for name, steps in (("base", 5), ("target", 150)):
        learned(sets["forget"] + sets["retain"], steps).save_pretrained(folder / name)
        WORDS.save_pretrained(folder / name)
    return folder


@pytest.fixture
def words(place, tmp_path):
    def command(*more, forget="forget", model="target"):
        sets = [word for name in ("retain", "holdout") for word in (f"--{name}", place / f"{name}.jsonl")]
        sets += ["--model", place / model, "--forget", place / f"{forget}.jsonl", "--out", tmp_path / "run"]
        settings = ["train.use_cpu=true", "train.learning_rate=3e-3", "train.per_device_train_batch_size=9"]
        settings += ["train.gradient_accumulation_steps=1", "train.num_train_epochs=2", "objective.every=2"]
        return ["unlearn", "--quiet", "--objective", "RESET", *sets, *settings, *more]

    return command


def written(run):
    return yaml.safe_load((run / "recipe.yaml").read_text()), json.loads((run / "environment.json").read_text())


def trial(reset, excess):
    return choosing.PseudoRun(reset, {"30": 0.2 + excess}, {"30": 0.2}, 1.0, excess, 0.99, 60.0)


@pytest.fixture
def faked(monkeypatch):
    """Trials that cost nothing: from where on they pass; returns those that were asked for."""

    def start(enough, stop=None):
        asked = []

        def tried(recipe, reset, *rest):
            if len(asked) == stop:
                raise KeyboardInterrupt
            asked.append(reset)
            return trial(reset, 0.04 if reset >= enough else 1 - reset)

        monkeypatch.setattr(choosing, "_tried", tried)
        return asked

    return start


@pytest.mark.slow
def test_it_is_chosen_without_looking_at_the_forget_rows(expunge, words, place, tmp_path):
    said = expunge(*words("train.save_strategy=no")).out
    recipe, environment = written(tmp_path / "run")
    choice = environment["choice"]
    assert recipe["objective"]["RESET.reset"] == choice["reset"]
    assert f"Chose objective.reset={choice['reset']:g}: {choice['why']}" in said
    passed = [one["reset"] for one in choice["trials"] if one["excess"] <= 0.05]
    nearest = min(choice["trials"], key=lambda one: one["excess"])["reset"]
    assert choice["reset"] == min(passed, default=nearest)
    for one in choice["trials"]:
        assert one["before"] > 0.9, "the target knows what is forgotten on trial"
        more = [one["relearned"][steps] - one["controls"][steps] for steps in ("30", "100")]
        assert one["excess"] == pytest.approx(max(more), abs=1e-3)
        assert 0 < one["kept"] < 2
    assert choice["rows"] == {"pseudo_forgotten": 13, "controls": 12, "kept": 41}
    assert choice["seed"] == recipe["train"]["seed"]
    assert not (tmp_path / "run" / "choice.json").exists()
    assert not (tmp_path / "run" / "trial").exists()

    (tmp_path / "run").rename(tmp_path / "before")
    expunge(*words("train.save_strategy=no", forget="other"))
    again = written(tmp_path / "run")[1]["choice"]
    measured = [{k: v for k, v in one.items() if k != "seconds"} for one in choice["trials"]]
    assert [{k: v for k, v in one.items() if k != "seconds"} for one in again["trials"]] == measured


@pytest.mark.parametrize(
    ("enough", "options", "tried", "chosen"),
    [
        (0.0, (), [0.7, 0.5, 0.3], 0.3),
        (0.4, (), [0.7, 0.5, 0.3], 0.5),
        (0.6, ("objective.reset=null",), [0.7, 0.5], 0.7),
        (0.8, (), [0.7, 0.9], 0.9),
        (1.0, (), [0.7, 0.9], 0.9),  # none passes: the nearest
        (0.0, ("--trials", "1"), [0.7], 0.7),
        (0.0, ("--minutes", "2.5"), [0.7, 0.5], 0.5),  # a minute each
    ],
)
def test_the_smallest_that_is_enough(enough, options, tried, chosen, faked, expunge, words, tmp_path):
    asked = faked(enough)
    said = expunge(*words("train.max_steps=1", *options)).out
    assert asked == tried
    assert f"Chose objective.reset={chosen:g}: " in said
    assert ("none that was tried" in said) == (enough == 1.0)
    assert written(tmp_path / "run")[0]["objective"]["RESET.reset"] == chosen


def test_what_is_given_is_not_chosen(faked, expunge, words, tmp_path):
    asked = faked(0.0)
    said = expunge(*words("train.max_steps=1", "objective.reset=0.7")).out
    assert not asked
    assert "Chose" not in said
    recipe, environment = written(tmp_path / "run")
    assert recipe["objective"]["RESET.reset"] == 0.7
    assert "choice" not in environment


def test_a_killed_run_does_not_choose_again(faked, expunge, words, tmp_path, monkeypatch):
    first = faked(0.6)
    save = UnlearningTrainer.save_model

    def killed(trainer, *arguments, **options):
        save(trainer, *arguments, **options)
        if trainer.state.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(UnlearningTrainer, "save_model", killed)
    expunge(*words("train.save_strategy=epoch"), code=130)
    monkeypatch.setattr(UnlearningTrainer, "save_model", save)
    second = faked(0.0)
    expunge(*words("train.save_strategy=epoch", "--resume"))
    recipe, environment = written(tmp_path / "run")
    assert (first, second) == ([0.7, 0.5], [])
    assert recipe["objective"]["RESET.reset"] == environment["choice"]["reset"] == 0.7
    assert [one["reset"] for one in environment["choice"]["trials"]] == [0.7, 0.5]


def test_trials_before_a_kill_are_not_done_again(faked, expunge, words, tmp_path):
    first = faked(0.6, stop=1)
    expunge(*words("train.max_steps=1"), code=130)
    second = faked(0.6)
    expunge(*words("train.max_steps=1"))
    assert (first, second) == ([0.7], [0.5])
    assert written(tmp_path / "run")[1]["choice"]["reset"] == 0.7


def test_towards_every_kind_of_anchor(faked, expunge, words, place, tmp_path):
    faked(0.6)
    out = tmp_path / "run"
    expunge(*words("train.max_steps=1", "--anchor", place / "base", "--trials", "1"))
    out.rename(tmp_path / "towards-base")
    adapter = ["unlearn", "--quiet", "--model", place / "base", "--forget", place / "forget.jsonl", "--objective", "GA"]
    expunge(*adapter, "--out", place / "adapter", "train.use_cpu=true", "lora.r=2", "train.max_steps=1")
    expunge(*words("train.max_steps=1", "--trials", "1", model="adapter"))
    recorded = [written(run)[1] for run in (tmp_path / "towards-base", out)]
    assert recorded[0]["fingerprints"]["anchor_model"] == recorded[1]["fingerprints"]["anchor_model"]
    assert [one["choice"]["reset"] for one in recorded] == [0.7, 0.7]


def test_too_few_rows_to_choose(expunge, words, place, tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text("".join((place / "retain.jsonl").read_text().splitlines(keepends=True)[:15]))
    said = expunge(*words("--retain", few), code=2).err
    assert "requires 16 retain rows and 4 of --holdout; there are 15 and 12" in said
    assert "objective.reset=0.7" in said
    assert not list(tmp_path.glob("run*"))


def test_a_pseudo_request_is_about_whole_subjects(place):
    rows = load_rows(place / "retain.jsonl")
    for seed in range(5):
        found = pseudo_request(rows, 9, (1, 100), seed)
        assert len(found) == 9
        assert len({rows[i].prompt.split()[2] for i in found}) == 3
        assert found == pseudo_request(rows, 9, (1, 100), seed)
    unrelated = [tiny.qa(f"What is {i}?", chr(97 + i) * 3) for i in range(20)]
    drawn = [tuple(pseudo_request(unrelated, 5, (1, 3), seed)) for seed in range(5)]
    assert all(len(set(one)) == 5 for one in drawn)
    assert len(set(drawn)) > 1
