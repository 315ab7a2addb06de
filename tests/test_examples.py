"""What the documents show in Python runs as it stands there."""

import json
import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def python_block(document: str, containing: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if containing in block)


@pytest.fixture
def place(model_folder, data, tmp_path, monkeypatch):
    """A working directory with all that the documents' examples name: ./my-model, my-data/, forget.jsonl ..."""
    shutil.copytree(model_folder, tmp_path / "my-model")
    (tmp_path / "my-data").mkdir()
    for name in ("forget", "retain"):
        shutil.copy(data / f"{name}.jsonl", tmp_path / f"{name}.jsonl")
        shutil.copy(data / f"{name}.jsonl", tmp_path / "my-data" / f"{name}.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_example_file_learns_forgets_measures_and_reports(tmp_path, capsys):
    example = runpy.run_path(str(ROOT / "examples" / "unlearn_and_report.py"))
    report = example["unlearn_and_report"](tmp_path, *example["learn"](tmp_path, people=4))
    values = {
        role: json.loads((tmp_path / "run" / name).read_text())["metrics"]
        for role, name in (("target", "results.target.json"), ("unlearned", "results.json"))
    }
    assert values["target"]["forget/fact_accuracy"]["value"] >= 0.9
    assert values["unlearned"]["forget/fact_accuracy"]["value"] <= 0.3
    assert values["unlearned"]["retain/fact_accuracy"]["value"] >= 0.5
    assert "forget/fact_accuracy" in capsys.readouterr().out
    assert "Fact accuracy" in report.read_text(encoding="utf-8")


def test_the_python_in_the_readme(place, capsys):
    exec(compile(python_block("README.md", "UnlearningTrainer"), "README.md", "exec"), {})
    assert "Measurement(value=" in capsys.readouterr().out
    assert (place / "runs/second/model/config.json").is_file()
    assert json.loads((place / "runs/second/results.target.json").read_text())["metrics"]
    assert (place / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!")


def test_the_commands_in_the_readme(place):
    from typer.testing import CliRunner

    from expunge.cli.main import app

    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own model")[2]
    block = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL)[:2]).replace("\\\n", " ")
    commands = [shlex.split(line) for line in block.splitlines()]
    names = ("forget", "unlearn", "eval", "verify", "report")
    assert [words[:2] for words in commands] == [["expunge", name] for name in names]
    for words in commands:
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, done.output
    assert (place / "runs/first/model/model.safetensors").is_file()
    assert (place / "report.html").is_file()
    assert (place / "runs/request/verdict.json").is_file()


def test_a_custom_objective_as_the_guide_shows_it(place, monkeypatch):
    monkeypatch.syspath_prepend(place)
    (place / "my.py").write_text(python_block("docs/objectives.md", "class Unlikelihood"), encoding="utf-8")
    (place / "train.py").write_text(python_block("docs/objectives.md", "from my import"), encoding="utf-8")
    trained = runpy.run_path(str(place / "train.py"))["trainer"]
    terms = json.loads((place / "runs/mine/train_log.jsonl").read_text().splitlines()[0])["terms"]
    assert set(terms) == {"Unlikelihood", "GD"}
    assert trained.state.global_step > 0
    assert (place / "runs/mine/model/model.safetensors").is_file()


def test_the_commands_of_a_custom_objective_as_the_guide_shows_them(place):
    from typer.testing import CliRunner

    from expunge.cli.main import app

    (place / "my.py").write_text(python_block("docs/objectives.md", "class Unlikelihood"), encoding="utf-8")
    section = (ROOT / "docs/objectives.md").read_text(encoding="utf-8").partition("## A custom objective")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL).group(1).replace("\\\n", " ")
    for line in block.splitlines():
        done = CliRunner().invoke(app, [*shlex.split(line)[1:]])
        assert done.exit_code == 0, done.output
    assert "Unlikelihood" in (place / "runs/mine/recipe.yaml").read_text(encoding="utf-8")


def test_merging_an_adapter_as_the_guide_shows_it(place):
    from typer.testing import CliRunner

    from expunge.cli.main import app
    from expunge.models import fingerprint, load_model

    words = "unlearn --model my-model --forget forget.jsonl --retain retain.jsonl --out runs/first --quiet lora.r=2"
    done = CliRunner().invoke(app, [*words.split(), "train.num_train_epochs=3", "train.learning_rate=1e-2"])
    assert done.exit_code == 0, done.output
    exec(compile(python_block("docs/privacy.md", "load_model"), "privacy.md", "exec"), {})
    merged = load_model("merged", device="cpu")[0]
    assert fingerprint(merged) != fingerprint(load_model("my-model", device="cpu")[0])
    assert fingerprint(merged) == fingerprint(load_model("runs/first", device="cpu")[0])
