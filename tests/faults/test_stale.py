"""No stale number: after any edit the evaluation is measured anew, and without one it is not."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import expunge
from evaluation.tiny import evaluate
from expunge.evaluation import measure
from faults.stale import EDITS, Edit, build, options_of

BASES = ("tofu", "custom", "gemma2", "adapter")
QUICK = random.Random(8).sample([edit for edit in EDITS if edit.base != "tofu"], 6)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The place as it is first evaluated; tests edit it and put it back, for a judge's folder is part of its name."""
    place = tmp_path_factory.mktemp("stale") / "place"
    place.mkdir()
    build(place)
    shutil.copytree(place, place.with_name("kept"))
    return place


@pytest.fixture
def place(built: Path, monkeypatch) -> Path:
    shutil.rmtree(built)
    shutil.copytree(built.with_name("kept"), built)
    monkeypatch.syspath_prepend(built)
    monkeypatch.delitem(sys.modules, "stale_helper", raising=False)
    return built


@pytest.fixture
def runs(monkeypatch) -> list[int]:
    """Grows by one whenever rows are really scored."""
    seen: list[int] = []
    real = measure.run_plan
    monkeypatch.setattr(measure, "run_plan", lambda *args, **kwargs: seen.append(1) or real(*args, **kwargs))
    return seen


@pytest.fixture(scope="module")
def first(built: Path):
    """Evaluate a base once; its files are copied to each test that repeats it."""
    done: dict[str, Path] = {}

    def of(base: str, to: Path) -> Path:
        if base not in done:
            folder = built.with_name(f"first_{base}")
            evaluate(**options_of(base, built), out=folder / "results.json")
            done[base] = folder
        shutil.copytree(done[base], to)
        return to / "results.json"

    return of


def check(edit: Edit, place: Path, first, runs, tmp_path: Path, monkeypatch) -> None:
    """The edited evaluation is measured anew, and gives what it gives where nothing was measured before."""
    out = first(edit.base, tmp_path / "first")
    monkeypatch.delitem(sys.modules, "stale_helper", raising=False)
    for name in [name for name in sys.modules if name.startswith("expunge_custom_")]:  # another process has none
        monkeypatch.delitem(sys.modules, name)
    runs.clear()
    options = options_of(edit.base, place) | (edit.apply(place) or {})
    found = evaluate(**options, out=out)
    assert runs == [1], f"{edit.name}: the numbers of before are shown"
    again = evaluate(**options, out=out)
    assert runs == [1], f"{edit.name}: measured again without a change"
    assert again.to_json() == found.to_json()


def test_there_are_at_least_forty_edits() -> None:
    assert len({edit.name for edit in EDITS}) == len(EDITS) >= 40


@pytest.mark.parametrize("base", BASES)
def test_without_an_edit_nothing_is_measured_again(base, place, first, runs, tmp_path) -> None:
    out = first(base, tmp_path / "first")
    runs.clear()
    evaluate(**options_of(base, place), out=out)
    assert runs == []


@pytest.mark.fault("edits between evaluations")
@pytest.mark.parametrize("edit", QUICK, ids=lambda edit: edit.name)
def test_some_edits(edit, place, first, runs, tmp_path, monkeypatch) -> None:
    check(edit, place, first, runs, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.fault("edits between evaluations")
@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit not in QUICK], ids=lambda edit: edit.name)
def test_every_other_edit(edit, place, first, runs, tmp_path, monkeypatch) -> None:
    check(edit, place, first, runs, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.fault("edits between evaluations")
def test_an_edit_of_expunge_itself(place, tmp_path) -> None:
    """By the command line of a copy of the source: what is measured shows its progress, what is used again does not."""
    source = Path(shutil.copytree(Path(expunge.__file__).parent, tmp_path / "src" / "expunge"))
    words = ["eval", "--model", place / "adapter", "--suite", "own", "--data", place / "data" / "holdout10.json"]

    def measured() -> bool:
        done = subprocess.run(
            [sys.executable, "-m", "expunge", *map(str, words), "--out", str(tmp_path / "results.json")],
            cwd=tmp_path / "src",
            env={"PYTHONPATH": str(tmp_path / "src"), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return "scoring" in done.stderr

    assert measured()
    assert not measured()
    file = source / "metrics" / "membership.py"
    file.write_text(file.read_text().replace("LOWEST_SHARE = 0.4", "LOWEST_SHARE = 0.3"))
    assert measured()
    assert not measured()
