"""`expunge attack`: every attack on every model, the file, what is used again, and what does not apply."""

import gc
import json
import weakref

import pytest

from attacks.small import PEOPLE
from expunge.attacks import ATTACKS, ROLES, AttackData, Subject
from expunge.attacks.prompts import WORST
from expunge.evaluation.results.seal import check_seal
from expunge.models import load_model

KEYS = {"attack", "setting", "model", "metric", "value", "ci95", "n"}


@pytest.fixture(scope="module")
def place(folders, tmp_path_factory):
    return folders, tmp_path_factory.mktemp("out") / "attack.json"


def arguments(folders, out, *more):
    words = ["attack", "--model", folders / "unlearned", "--target", folders / "target", "--quick", "--quiet"]
    return [*words, "--forget", folders / "forget.jsonl", "--device", "cpu", "--out", out, *more]


def number(document, attack, setting, model, metric):
    [row] = [
        r
        for r in document["rows"]
        if (r["attack"], r["setting"], r["model"], r["metric"]) == (attack, setting, model, metric)
    ]
    return row


@pytest.fixture(scope="module")
def everything(place):
    """All attacks on all three models, by the command line; what it printed is dropped."""
    from contextlib import redirect_stdout
    from io import StringIO

    from expunge.cli.main import app

    folders, out = place
    others = ["--retain-model", folders / "retain", "--retain", folders / "keep.jsonl"]
    given = arguments(folders, out, *others, "--holdout", folders / "holdout.jsonl")
    with redirect_stdout(StringIO()):
        app(list(map(str, given)), standalone_mode=False)
    return json.loads(out.read_text())


@pytest.mark.slow
def test_every_attack_measures_every_model_alike(everything, place):
    check_seal(place[1], everything)
    assert {(r["attack"], r["model"]) for r in everything["rows"]} == {(a, role) for a in ATTACKS for role in ROLES}
    assert all(set(row) == KEYS for row in everything["rows"])
    assert everything["models"].keys() == set(ROLES)
    assert {one["model"] for one in everything["curves"]} == set(ROLES)
    for attack in ATTACKS:
        settings = {
            role: {r["setting"] for r in everything["rows"] if (r["attack"], r["model"]) == (attack, role)}
            for role in ROLES
        }
        assert settings["target"] == settings["retain"] == settings["unlearned"] - {"activation_patching"}


@pytest.mark.slow
def test_what_was_only_suppressed_comes_back_and_what_was_never_known_does_not(everything):
    after = "steps=10 rate=0.001 on=forget"
    found = {role: number(everything, "relearn", after, role, "rougeL_recall") for role in ROLES}
    assert number(everything, "relearn", "none", "unlearned", "rougeL_recall")["value"] < 0.1
    assert found["unlearned"]["ci95"][0] > found["retain"]["ci95"][1]
    assert found["target"]["value"] == 1
    leak = {role: number(everything, "sample", "n=8 temperature=1 top_p=1", role, "leak@8")["value"] for role in ROLES}
    assert leak["target"] > leak["unlearned"] > leak["retain"] == 0
    begun = {role: number(everything, "prompts", "first_words", role, "fact_accuracy")["value"] for role in ROLES}
    assert begun["target"] == 1 > begun["unlearned"] > 0.3 > begun["retain"] == 0
    depth = number(everything, "probe", "activation_patching", "unlearned", "unlearning_depth")
    assert depth["ci95"][1] < 0.5  # most of it is still in the layers
    auc = {role: number(everything, "mia", "none", role, "mia_loss_auc")["value"] for role in ROLES}
    assert auc["target"] == 1
    assert abs(auc["retain"] - 0.5) < 0.4


@pytest.mark.slow
def test_a_change_is_the_difference_to_the_same_model_before(everything):
    for attack in ("relearn", "prompts", "quantize"):
        for row in everything["rows"]:
            if row["attack"] != attack or not row["metric"].endswith("_change") or row["setting"] == "first_words":
                continue
            metric = row["metric"].removesuffix("_change")
            before, after = (number(everything, attack, s, row["model"], metric) for s in ("none", row["setting"]))
            assert row["value"] == pytest.approx(after["value"] - before["value"], abs=1e-9)


@pytest.mark.slow
def test_the_worst_prompt_is_no_better_than_any_other(everything):
    for role in ROLES:
        worst = number(everything, "prompts", WORST, role, "probability")["value"]
        others = [
            r for r in everything["rows"] if (r["attack"], r["model"], r["metric"]) == ("prompts", role, "probability")
        ]
        assert len(others) > 3
        assert all(row["value"] <= worst for row in others if row["setting"] != "first_words")


@pytest.mark.slow
def test_a_quick_call_samples_one_way_and_relearns_at_one_rate(everything):
    settings = {(r["attack"], r["setting"]) for r in everything["rows"]}
    assert {setting for attack, setting in settings if attack == "sample"} == {"none", "n=8 temperature=1 top_p=1"}
    relearned = {setting.split(" on=")[0] for attack, setting in settings if attack == "relearn"}
    assert relearned == {"none", "steps=10 rate=0.001", "steps=30 rate=0.001"}


def test_the_settings_are_those_of_the_documents():
    relearn, sample, quantize = (ATTACKS[name].settings for name in ("relearn", "sample", "quantize"))
    assert relearn == {"steps": (10, 30, 100), "rates": (3e-4, 1e-3), "batch_rows": 10}
    assert sample == {"answers": 32, "temperature_top_p": ((1.0, 1.0), (0.8, 0.95)), "k": (1, 8, 32)}
    assert quantize == {"bits": ("int8", "nf4", "rtn4"), "block": 64}


@pytest.mark.slow
def test_patching_has_one_model_in_memory_at_a_time(folders, monkeypatch):
    loaded = []

    def load(place, **options):
        gc.collect()
        assert not any(model() for model in loaded)
        model, words = load_model(place, **options)
        loaded.append(weakref.ref(model))
        return model, words

    monkeypatch.setattr("expunge.models.load_model", load)
    models = {role: folders / role for role in ROLES}
    subject = Subject("unlearned", folders / "unlearned", AttackData(PEOPLE), quick=True, device="cpu", models=models)
    found = ATTACKS["probe"].run(subject)
    assert "activation_patching" in {row.setting for row in found.rows}
    assert len(loaded) == 4  # the subject, itself and the retain model for their states, the target


@pytest.mark.slow
def test_a_repeated_call_uses_what_is_there_again_and_measures_what_is_not(
    everything, place, tmp_path, expunge, monkeypatch
):
    folders, out = place
    again = tmp_path / "attack.json"
    again.write_text(out.read_text())
    asked = []
    for name, attack in ATTACKS.items():
        monkeypatch.setitem(ATTACKS, name, type(attack)(**{**vars(attack), "run": recorded(attack, asked)}))
    others = ["--retain-model", folders / "retain", "--retain", folders / "keep.jsonl"]
    expunge(*arguments(folders, again, *others, "--holdout", folders / "holdout.jsonl"))
    assert asked == []
    assert json.loads(again.read_text()) == everything
    # other rows, so nothing of it is used
    expunge(*arguments(folders, again, *others, "--attack", "mia", "--holdout", folders / "keep.jsonl"))
    assert asked == [("mia", role) for role in ROLES]
    # edited, so measured anew
    document = json.loads(again.read_text())
    document["rows"][0]["value"] = 0.123
    again.write_text(json.dumps(document))
    said = expunge(*arguments(folders, again, *others, "--attack", "mia", "--holdout", folders / "keep.jsonl"))
    assert "was edited" in said.err
    assert len(asked) == 6
    assert json.loads(again.read_text())["rows"][0]["value"] != 0.123


def recorded(attack, asked):
    def run(subject):
        asked.append((attack.name, subject.role))
        return attack.run(subject)

    return run


@pytest.mark.slow
def test_a_killed_call_goes_on_and_purge_knows_what_it_left(folders, tmp_path, expunge, monkeypatch):
    out, asked = tmp_path / "run" / "attack.json", []
    real = ATTACKS["relearn"]

    def killed(subject):
        if subject.role == "unlearned":
            raise KeyboardInterrupt
        return recorded(real, asked)(subject)

    monkeypatch.setitem(ATTACKS, "relearn", type(real)(**{**vars(real), "run": killed}))
    expunge(*arguments(folders, out, "--attack", "relearn"), code=130)
    assert [path.name for path in (out.parent / "attack.parts").iterdir()] == ["relearn.target.json"]
    assert not out.exists()
    assert "attack.parts" in expunge("purge", "--dry-run", out.parent).out
    monkeypatch.setitem(ATTACKS, "relearn", type(real)(**{**vars(real), "run": recorded(real, asked)}))
    expunge(*arguments(folders, out, "--attack", "relearn"))
    assert asked == [("relearn", "target"), ("relearn", "unlearned")]
    assert [path.name for path in out.parent.iterdir()] == ["attack.json"]


@pytest.mark.slow
def test_no_text_of_a_row_is_in_the_file(everything, place):
    text = place[1].read_text()
    assert "Ada" not in text
    assert "Tarn" not in text


def test_what_does_not_apply_is_said(folders, tmp_path, expunge):
    out = tmp_path / "attack.json"
    said = expunge(*arguments(folders, out, "--attack", "mia", "--attack", "prompts"))
    reasons = {(one["attack"], one["setting"]): one["reason"] for one in json.loads(out.read_text())["not_measured"]}
    assert "--holdout" in reasons["mia", None]
    assert "--retain" in reasons["prompts", "few_shot"]
    assert "paraphrased_question" in reasons["prompts", "paraphrase"]
    assert "not measured: mia (target, unlearned): no holdout rows" in said.out


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--attack", "relern"], "Did you mean 'relearn'"),
        (["--data", "somewhere"], "either --data FOLDER"),
        (["--forget-split", "forget10"], "--forget-split goes with --data"),
    ],
)
def test_what_cannot_be_asked_for(folders, tmp_path, expunge, more, words):
    assert words in expunge(*arguments(folders, tmp_path / "attack.json", *more), code=2).err


def test_a_results_file_must_be_json(folders, tmp_path, expunge):
    assert "must end in .json" in expunge(*arguments(folders, tmp_path / "attack"), code=2).err


def test_a_data_folder_does_as_well(folders, tmp_path, expunge):
    data = tmp_path / "data"
    data.mkdir()
    for name, file in (("forget10_perturbed", "forget"), ("retain_perturbed", "keep"), ("holdout10", "holdout")):
        (data / f"{name}.jsonl").write_text((folders / f"{file}.jsonl").read_text())
    given = ["attack", "--model", folders / "unlearned", "--target", folders / "target", "--data", data, "--quick"]
    out = tmp_path / "attack.json"
    expunge(*given, "--attack", "mia", "--device", "cpu", "--quiet", "--out", out)
    assert json.loads(out.read_text())["data"]["sets"].keys() == {"forget", "retain", "holdout"}
