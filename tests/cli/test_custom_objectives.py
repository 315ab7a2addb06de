"""A term or objective of a Python file, by its name: it is run where a user asks for the run, and nowhere else."""

import json

import pytest
import yaml

from expunge.cli.main import main
from expunge.custom import custom_code

FILE = """
from dataclasses import dataclass
from pathlib import Path

import torch

from expunge.objectives import TERMS, Needs, Objective, Term, Weighted

Path(__file__).with_suffix(".ran").touch()


@dataclass(frozen=True)
class Unlikelihood(Term):
    \"\"\"- token mean of log(1 - p_t(y_t)).\"\"\"

    most: float = 0.999
    needs = Needs(views=("forget",))
    paper = "1908.04319"

    def loss(self, views):
        return views.forget.token_mean(-torch.log1p(-views.forget.logp.exp().clamp(max=self.most)))


@dataclass(frozen=True)
class Needy(Term):
    needs = Needs(views=("forget",))
    paper = ""
    must: float


mine = Objective("mine", (Weighted("Unlikelihood", Unlikelihood(), 2.0), Weighted("GD", TERMS["GD"]())))
nothing = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my.py"
    path.write_text(f"# {tmp_path}\n{FILE}")  # a file is run once for each content
    return path


@pytest.fixture
def expunge(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def unlearn(model_folder, data, out, objective, *more):
    sets = ("--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    fast = ("train.use_cpu=true", "train.num_train_epochs=1", "train.learning_rate=1e-3", "train.max_steps=1")
    return ("unlearn", *sets, "--objective", objective, "--out", out, "--quiet", *fast, *more)


def first_terms(run):
    return json.loads((run / "train_log.jsonl").read_text().splitlines()[0])["terms"]


def test_a_custom_term_is_trained_with_options_and_fingerprinted(file, model_folder, data, tmp_path, expunge):
    run = tmp_path / "run"
    words = unlearn(model_folder, data, run, f"{file}:Unlikelihood+GD", "objective.most=0.9", "objective.GD.weight=2")
    code, said = expunge(*words)
    assert code == 0, said
    assert set(first_terms(run)) == {"Unlikelihood", "GD"}
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["objective"] == {
        "name": f"{file}:Unlikelihood+GD",
        "Unlikelihood.weight": 1.0,
        "Unlikelihood.most": 0.9,
        "GD.weight": 2.0,
    }
    before = json.loads((run / "environment.json").read_text())["fingerprints"]
    assert before[f"custom {file}:Unlikelihood"] == custom_code(f"{file}:Unlikelihood")
    # The recipe that a run leaves is one to run again; after a change of the file it has another fingerprint.
    file.write_text(FILE + "\n# another comment\n")
    assert expunge("unlearn", run / "recipe.yaml", "--out", tmp_path / "again", "--quiet")[0] == 0
    after = json.loads((tmp_path / "again" / "environment.json").read_text())["fingerprints"]
    assert after["recipe"] != before["recipe"]
    assert first_terms(tmp_path / "again") == first_terms(run)


def test_a_whole_objective(file, model_folder, data, tmp_path, expunge):
    words = unlearn(model_folder, data, tmp_path / "run", f"{file}:mine", "objective.forget_weight=0.5")
    assert expunge(*words)[0] == 0
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["objective"]["name"] == f"{file}:mine"
    assert recipe["objective"]["Unlikelihood.weight"] == 1.0


def test_its_value_by_expunge_loss(file, model_folder, data, expunge):
    words = ("loss", "--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    code, said = expunge(*words, "--objective", f"{file}:Unlikelihood+GD", "--json")
    assert code == 0, said
    custom, known = json.loads(said)["terms"]
    assert (custom["name"], custom["set"], known["name"]) == ("Unlikelihood", "forget", "GD")
    assert custom["value"] > 0


def test_a_changed_file_is_not_resumed(file, model_folder, data, tmp_path, expunge, monkeypatch):
    from expunge.training import UnlearningTrainer

    class Killed(BaseException):
        pass

    save = UnlearningTrainer.save_model

    def killed(self, output_dir=None, _internal_call=False):
        if not _internal_call:
            raise Killed
        save(self, output_dir, _internal_call)

    with monkeypatch.context() as patch:
        patch.setattr(UnlearningTrainer, "save_model", killed)
        with pytest.raises(Killed):
            expunge(*unlearn(model_folder, data, tmp_path / "run", f"{file}:Unlikelihood+GD"))
    original = file.read_text()
    file.write_text(original.replace("0.999", "0.99"))
    code, said = expunge("unlearn", "--resume", "--out", tmp_path / "run", "--quiet")
    assert (code, f"the file of {file}:Unlikelihood changed" in said) == (2, True)
    file.write_text(original)
    assert expunge("unlearn", "--resume", "--out", tmp_path / "run", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{0}:Nobody", "Nobody"),
        ("{0}:nothing+GD", "neither a Term nor an Objective"),
        ("{0}:Needy", "every hyper-parameter of a term needs a default"),
        ("{0}.py:Term", "there is no file"),
        ("{0}:Unlikelihood+{0}:Unlikelihood", "names Unlikelihood twice"),
        ("{0}:Unlikelihood+GX", "'GX'"),
    ],
)
def test_names_that_lead_nowhere(name, said, file, model_folder, data, tmp_path, expunge):
    words = unlearn(model_folder, data, tmp_path / "run", name.format(file))
    code, message = expunge(*words)
    assert code == 2
    assert said in message
    assert "Traceback" not in message


def test_a_file_that_cannot_be_run(model_folder, data, tmp_path, expunge):
    (tmp_path / "my.py").write_text("1 / 0")
    code, said = expunge(*unlearn(model_folder, data, tmp_path / "run", f"{tmp_path / 'my.py'}:Term"))
    assert (code, "ZeroDivisionError" in said) == (2, True)


def test_validate_and_report_do_not_run_the_file(file, model_folder, data, tmp_path, expunge):
    run = tmp_path / "run"
    assert expunge(*unlearn(model_folder, data, run, f"{file}:Unlikelihood+GD"))[0] == 0
    words = ("eval", "--model", run, "--suite", "own", "--data", data, "--out", run / "results.json")
    assert expunge(*words)[0] == 0
    ran = file.with_suffix(".ran")
    assert ran.exists()
    ran.unlink()
    file.write_text(FILE + "# not seen yet\n")  # a file that was run before is not run again
    code, said = expunge("validate", run / "recipe.yaml")
    assert (code, f"without running {file}:Unlikelihood" in said) == (0, True)
    code, said = expunge("report", run, "--out", tmp_path / "report.html")
    assert code == 0, said
    assert not ran.exists()
    assert "Unlikelihood" in (tmp_path / "report.html").read_text()
