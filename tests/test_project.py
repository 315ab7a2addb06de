"""The project itself: what the documents say exists, rooms import one way, and nothing private is in the files."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import expunge

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "expunge"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
LONGEST_FILE = 400  # lines; most have fewer than 300

# Every room and the rooms it may import, its own aside. Errors and file writing are for all.
ROOMS = {
    "objectives": set(),
    "metrics": set(),
    "data": {"objectives", "metrics"},
    "models": {"data", "objectives", "metrics"},
    "training": {"models", "data", "objectives", "metrics"},
    "evaluation": {"models", "data", "objectives", "metrics"},
    "attacks": {"evaluation", "training", "models", "data", "objectives", "metrics"},
    "forget": {"report", "attacks", "evaluation", "training", "models", "data", "objectives", "metrics"},
    "sweep": {"report", "attacks", "evaluation", "training", "models", "data", "objectives", "metrics"},
    "bench": {
        "sweep",
        "worlds",
        "report",
        "attacks",
        "evaluation",
        "training",
        "models",
        "data",
        "objectives",
        "metrics",
    },
    "view": {"report", "evaluation", "training", "models", "data", "objectives", "metrics"},
    "worlds": {"models", "data", "objectives", "metrics"},
    "report": {"evaluation", "training", "models", "data", "objectives", "metrics"},
    "ledger": {
        "report",
        "forget",
        "attacks",
        "evaluation",
        "training",
        "models",
        "data",
        "objectives",
        "metrics",
    },
    "scenarios": {
        "ledger",
        "worlds",
        "report",
        "forget",
        "attacks",
        "evaluation",
        "training",
        "models",
        "data",
        "objectives",
        "metrics",
    },
    "cli": {
        "bench",
        "scenarios",
        "ledger",
        "attacks",
        "forget",
        "report",
        "sweep",
        "view",
        "worlds",
        "evaluation",
        "training",
        "models",
        "data",
        "objectives",
        "metrics",
    },
}
FOR_ALL = {"errors", "files", "runs", "custom", "limits", "shipped"}
SECTIONS = ("objective", "train", "lora")


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def tracked_texts() -> list[tuple[str, str]]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: there is no list of tracked files")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = [ROOT / name for name in names.split("\0") if name]
    texts = []
    for file in files:
        if file.is_file() and b"\0" not in (content := file.read_bytes()):
            texts.append((str(file.relative_to(ROOT)), content.decode("utf-8")))
    return texts


def imports_of(file: Path) -> set[str]:
    """The parts of expunge a file imports, anywhere in it: `expunge.data.rows` -> `data`."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; the project writes them in full"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {module.split(".")[1] for module in modules if module.startswith("expunge.")}


def shell_blocks(document: Path) -> list[str]:
    """Commands in the ```sh blocks of a document, with continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition(" # ")[0].strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


DOCUMENTED = [
    pytest.param(command, id=f"{document.name}-{i}")
    for document in DOCUMENTS
    for i, command in enumerate(shell_blocks(document))
    if re.match(r"(\.venv/bin/)?expunge ", command)
]


@pytest.fixture(scope="module")
def application() -> click.Group:
    from expunge.cli.main import app

    return typer.main.get_command(app)


def test_there_are_documented_commands():
    assert len(DOCUMENTED) >= 8


@pytest.mark.parametrize("command", DOCUMENTED)
def test_every_documented_command_is_one_the_command_line_accepts(command, application):
    words = shlex.split(command)[1:]
    if words[0].startswith("-"):
        application.make_context("expunge", words, resilient_parsing=True)
        return
    assert words[0] in application.commands, f"expunge has no command {words[0]!r}"
    name, command, *rest = words[0], application.commands[words[0]], *words[1:]
    if isinstance(command, click.Group):
        assert rest[0] in command.commands, f"expunge {name} has no command {rest[0]!r}"
        name, command, *rest = rest[0], command.commands[rest[0]], *rest[1:]
    parsed = command.make_context(name, rest)  # raises for what it does not know
    from expunge.objectives import build_objective
    from expunge.training.recipe import check_train_options, custom_names, read_recipe, split_words

    recipe, free = split_words(parsed.params.get("words") or [])
    if recipe and not recipe.endswith(".yaml"):  # a file is the reader's own
        read_recipe(recipe, free)
    of = {section: {k.partition(".")[2]: v for k, v in free.items() if k.startswith(section)} for section in SECTIONS}
    check_train_options(of["train"])
    if parsed.params.get("objective") and not custom_names(parsed.params["objective"]):
        build_objective(parsed.params["objective"], of["objective"])


def test_every_make_target_in_the_documents_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {m for d in DOCUMENTS for c in shell_blocks(d) for m in re.findall(r"^make ([a-z-]+)", c)}
    assert {"demo", "test"} <= used <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_links_between_documents_lead_somewhere(document):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (document.parent / t).exists()]
    assert not missing


def readme_tree() -> list[Path]:
    """Every file and folder that the README's tree names."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.search(r"```text\n(src/expunge/\n.*?)```", readme, re.DOTALL).group(1)
    named, above = [], [ROOT]
    for line in text.splitlines():
        names, _, says = line.strip().partition("   ")
        depth = (len(line) - len(line.lstrip())) // 2
        folder = above[depth]
        # What a line says of a folder or file may name others: in the folder, or beside the file.
        inside = folder / names if names.endswith("/") else folder
        named += [folder / name for name in names.split(", ")]
        named += [inside / name for name in re.findall(r"(?<![\w/])\w+(?:\.py|/)(?![\w/])", says)]
        above[depth + 1 :] = [inside]
    return named


def test_the_file_tree_in_the_readme_is_the_one_there_is():
    named = readme_tree()
    assert not [path for path in named if not path.exists()]
    folders = {path for path in SOURCE.glob("**/*") if path.is_dir() and any(path.glob("*.*"))} - {SOURCE}
    folders = {path for path in folders if "__pycache__" not in path.parts}
    assert {path for path in named if path.is_dir() and path.is_relative_to(SOURCE)} - {SOURCE} == folders
    assert len([path for path in named if path.suffix == ".py"]) > 40


def test_every_objective_and_metric_is_in_the_user_guides():
    from expunge.metrics import METRICS
    from expunge.objectives import COMPOSITES, TERMS

    objectives, papers, metrics = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("objectives", "papers", "metrics")
    )
    for name in (*TERMS, *COMPOSITES):
        assert re.search(rf"\b{name}\b", objectives), f"docs/objectives.md lacks {name}"
        assert re.search(rf"\b{name}\b", papers), f"docs/papers.md lacks {name}"
    for name, term in TERMS.items():
        for paper in term.paper.split(", "):
            assert paper in papers, f"docs/papers.md lacks {paper}, the paper of {name}"
    for metric in METRICS:
        assert f"`{metric.name}`" in metrics, f"docs/metrics.md lacks {metric.name}"
        assert metric.source == "expunge" or metric.source in papers, f"docs/papers.md lacks {metric.source}"


def test_no_machine_path_and_no_registry_address_in_any_tracked_file():
    # Written in pieces: this file is tracked too.
    private = re.compile("|".join([r"(?<![\w.}/-])/" + "(?:work|root)/", "/ho" + r"me/\w+/", "/pro" + "c/self"]))
    registry = re.compile("|".join(["py" + r"pi\.org", "python" + "hosted", r"pytorch\.org/" + "whl", "npm" + "js"]))
    found = [
        f"{name}: {match.group(0)}"
        for name, text in tracked_texts()
        for pattern in (private, registry)
        for match in pattern.finditer(text)
    ]
    assert not found


def test_source_files_are_short():
    lengths = {f: len(f.read_text(encoding="utf-8").splitlines()) for f in SOURCE.rglob("*.py")}
    too_long = {str(f.relative_to(ROOT)): n for f, n in lengths.items() if n > LONGEST_FILE}
    assert not too_long
    assert sum(n < 300 for n in lengths.values()) > 0.9 * len(lengths)


def test_rooms_import_one_way():
    rooms = {p.name for p in SOURCE.iterdir() if (p / "__init__.py").is_file()}
    assert rooms == set(ROOMS), "a new room needs a row in ROOMS"
    for room, allowed in ROOMS.items():
        for file in (SOURCE / room).rglob("*.py"):
            modules = imports_of(file) & (rooms | FOR_ALL)
            assert modules <= allowed | FOR_ALL | {room}, f"{file.relative_to(ROOT)} imports {modules - allowed}"


WAYS = re.findall(
    r"^## (A .*?)\n\n((?:\|.*\n)+)", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("way", "table"), WAYS, ids=[way for way, _ in WAYS])
def test_nothing_returns_to_a_room_that_it_has_left(way, table):
    modules = re.findall(r"^\| `(.*?)`", table, re.MULTILINE)
    assert len(modules) >= 8
    # the stages of an evaluation are rooms of their own
    rooms = ["/".join(module.split("/")[: 2 if module.startswith("evaluation/") else 1]) for module in modules]
    assert all((SOURCE / module).exists() for module in modules)
    entered = [room for room, before in zip(rooms, [None, *rooms], strict=False) if room != before]
    assert len(entered) == len(set(entered))


def test_both_ways_are_written_down():
    assert len(WAYS) == 2


@pytest.mark.parametrize("room", ["objectives", "metrics"])
def test_the_maths_needs_no_model_library(room):
    heavy = {"transformers", "peft", "accelerate", "datasets", "matplotlib"}
    for file in (SOURCE / room).rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        assert not heavy & {name.split(".")[0] for name in names}, file


def test_the_command_line_starts_without_heavy_libraries():
    program = "import sys, expunge, expunge.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "expunge.cli.main" in loaded
    assert not loaded & {"torch", "transformers", "matplotlib", "peft", "datasets", "scipy", "pandas"}


def test_every_public_name_can_be_imported():
    for room in ROOMS:
        module = import_module(f"expunge.{room}")
        for name in getattr(module, "__all__", ()):
            assert hasattr(module, name), f"expunge.{room}.{name}"
    for name in expunge.__all__:
        assert hasattr(expunge, name)


def test_versions_agree():
    assert pyproject()["project"]["version"] == expunge.__version__
    assert f"## [{expunge.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["src", "tests"])
def test_every_imported_library_is_asked_for(folder):
    project, groups = pyproject()["project"], pyproject()["dependency-groups"]
    asked = [*project["dependencies"], *(groups["test"] if folder == "tests" else [])]
    asked += [] if folder == "tests" else [r for extra in project["optional-dependencies"].values() for r in extra]
    names = {canonicalize_name(Requirement(text).name) for text in asked}
    homes = packages_distributions()
    own = {"expunge", *(path.stem for path in (ROOT / "tests").rglob("*"))}
    for file in (ROOT / folder).rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        modules = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
        for module in {m.split(".")[0] for m in modules} - set(sys.stdlib_module_names) - own:
            homes_of = {canonicalize_name(home) for home in homes.get(module, [module])}
            assert homes_of & names, f"{file.relative_to(ROOT)} imports {module}, which pyproject.toml does not ask for"


def test_the_readme_lists_every_command(application):
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Commands")[2].partition("\n## ")[0]
    assert set(re.findall(r"`expunge (\w+)`", table)) == set(application.commands)


def test_constraints_pin_every_direct_dependency_within_its_range():
    project, groups = pyproject()["project"], pyproject()["dependency-groups"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    wanted += [r for group in groups.values() for r in group if isinstance(r, str)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert all(name == canonicalize_name(name) for name in pins)
    for text in wanted:
        requirement = Requirement(text)
        assert Version(pins[canonicalize_name(requirement.name)]) in requirement.specifier, text


@pytest.mark.parametrize("script", sorted(ROOT.glob("benchmarks/*.py")), ids=lambda script: script.stem)
def test_every_benchmark_starts(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    if "__main__" not in script.read_text():  # other benchmarks import it
        runpy.run_path(str(script))
        return
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 0
    assert script.name in capsys.readouterr().out
