"""What there is, by name; and the version."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import expunge
from expunge.cli.main import app


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_version_is_the_packages():
    assert printed("--version") == f"expunge {expunge.__version__}\n"


def test_every_suite_is_listed_with_its_sets():
    from expunge.evaluation.suites import SUITES

    text = " ".join(printed("suites").split())
    for suite in SUITES.values():
        assert f"{suite.name} {suite.summary}"[:40] in text
        assert all(spec.name in text for spec in suite.sets)


def test_every_recipe_is_listed_with_its_target_model():
    from expunge.shipped import shipped_recipes
    from expunge.training.recipe import read_recipe

    lines = printed("recipes").splitlines()
    for name in shipped_recipes():
        at = lines.index(name)
        assert lines[at + 2] == f"    target model: {read_recipe(name, {}).model}"


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("recipes", {"torch", "transformers", "peft", "accelerate"}),
        ("suites", {"torch", "transformers", "peft", "accelerate"}),
        ("metrics", {"torch", "transformers", "peft", "accelerate"}),
        ("methods", {"transformers", "peft", "accelerate"}),  # terms are functions of torch's tensors
    ],
)
def test_a_list_is_printed_without_heavy_libraries(command, heavy):
    program = "import sys; from expunge.cli.main import app; app(sys.argv[1:], standalone_mode=False)"
    program += "; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program, command], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not set(done.stderr.split()) & heavy
