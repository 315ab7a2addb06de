"""What there is, by name; and the version."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import expunge
from expunge.cli.main import app


def printed(*words: str, columns: int = 80) -> str:
    done = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def test_the_version_is_the_packages():
    assert printed("--version") == f"expunge {expunge.__version__}\n"


def test_every_suite_is_listed_with_its_sets():
    from expunge.evaluation.suites import SUITES

    text = " ".join(printed("suites").split())
    for suite in SUITES.values():
        assert f"{suite.name} {suite.summary}"[:40] in text
        assert f"sets: {', '.join(spec.name for spec in suite.sets)} metrics: " in text
        assert f" metrics: {', '.join(metric.name for metric in suite.metrics)}"[:40] in text
    assert "\n    sets: " in printed("suites")
    assert all(line.strip() for line in printed("suites").splitlines())


def test_every_recipe_is_listed_with_its_target_model():
    from expunge.shipped import shipped_recipes
    from expunge.training.recipe import read_recipe

    lines = printed("recipes").splitlines()
    for name, file in shipped_recipes().items():
        at = lines.index(name)
        assert f"# {lines[at + 1].strip()}" == file.read_text(encoding="utf-8").splitlines()[0]
        assert lines[at + 2] == f"    target model: {read_recipe(name, {}).model}"


def test_metrics_are_defined_in_a_narrow_terminal_too():
    assert "┃ definition (source)" in printed("metrics", columns=66)


def test_objectives_are_listed_by_side():
    from expunge.objectives import COMPOSITES, TERMS

    lines = printed("methods", columns=200).splitlines()
    at = [next(i for i, line in enumerate(lines) if f" {name} " in line) for name in ("NPO", "GD", "LLMU")]
    assert at == sorted(at)  # of the forget set, of the retain set, of both
    assert all(any(f" {name} " in line for line in lines) for name in (*TERMS, *COMPOSITES))
    assert sum("──" in line for line in lines) == 3


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
