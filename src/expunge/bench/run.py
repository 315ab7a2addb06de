"""A leaderboard from its file to its page: two sweeps, one to choose the settings and one to report.

OUT/world, OUT/target, OUT/retain     where the file asks for a world
OUT/rows/validation, OUT/rows/test    the rows that are measured, halved
OUT/validation.yaml, OUT/validation/  the search: every setting, one seed
OUT/test.yaml, OUT/test/              each method at its chosen setting, all seeds, attacked
OUT/results.md, OUT/images/           the page
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from expunge.bench.found import Choice, Found
from expunge.bench.halves import TEST, VALIDATION, write_halves
from expunge.bench.plan import Method, World, read_bench
from expunge.bench.score import criterion, score
from expunge.files import whole_file
from expunge.sweep.run import sweep
from expunge.sweep.table import Line

ROWS = "rows"
ATTACKS = ("relearn", "quantize", "sample")


def bench(file: str | Path | None, out: Path, workers: int = 1, *, say: Callable[[str], None] = print) -> Found:
    """Run a leaderboard, or what is left of it.

    Args:
        file: what to run; None: the one on the embedded world.
        out: the folder to make, or that of the same leaderboard.
        workers: processes on this machine.
        say: is told about each step.

    Raises:
        InputError: the file, a model or rows cannot be used, or no setting of any method was measured.
    """
    from expunge.bench.page import write_page

    plan = read_bench(file)
    out.mkdir(parents=True, exist_ok=True)
    common = {**plan.common, **(_make_world(out, plan.world, say) if plan.world else {})}
    holdout = common.pop("holdout", None)
    split = write_halves(out / ROWS, common.get("suite", "tofu"), common["data"], common.get("forget_split"), holdout)
    settings = {s.name: s.values for method in plan.methods for s in method.settings}
    searched = sweep(
        _write(out, VALIDATION, common, split, settings, plan.seeds[:1], ()), out / VALIDATION, workers, say=say
    )
    numbers = criterion(searched)
    choices = [choose(method, searched, numbers) for method in plan.methods]
    chosen = {choice.method.name: choice.chosen.values for choice in choices if choice.chosen}
    for choice in choices:
        say(f"{choice.method.name}: {choice.chosen.name if choice.chosen else 'no setting was measured'}")
    table = sweep(
        _write(out, TEST, common, split, chosen, plan.seeds, common.get("attacks", ATTACKS)),
        out / TEST,
        workers,
        say=say,
    )
    found = Found(plan, choices, numbers, searched, table, out)
    write_page(found)
    return found


def _make_world(out: Path, world: World, say: Callable[[str], None]) -> dict[str, Any]:
    """Make what is not there yet; returns the keys of a sweep's file that stand for it."""
    from expunge.data import load_rows
    from expunge.training import finetune
    from expunge.worlds.corpus import write_world
    from expunge.worlds.new import TINY_TRAINING, new_tiny

    place, percent = out / "world", world.forget_percent
    if not place.is_dir():
        write_world(place, world.people, percent, world.seed)
    retain = f"{place}:retain{100 - percent:02d}"
    training = {**TINY_TRAINING, "num_train_epochs": world.epochs, "seed": world.seed, "use_cpu": True}
    for name, spec in (("target", f"{place}:full"), ("retain", retain)):
        if not (out / name).is_dir():
            say(f"The {name} model is learning (about a minute)")
            rows = load_rows(spec)
            model, words = new_tiny(rows, None if name == "target" else out / "target", world.seed)
            finetune(model, words, rows, out / name, training, quiet=True)
    return {
        "model": str(out / "target"),
        "retain_model": str(out / "retain"),
        "forget": f"{place}:forget{percent:02d}",
        "retain": retain,
        "data": str(place),
        "forget_split": f"forget{percent:02d}",
    }


def _write(
    out: Path,
    half: str,
    common: Mapping[str, Any],
    split: str,
    runs: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    attacks: Sequence[str],
) -> Path:
    """Write a sweep's file, for rows of one half. RESET takes its level from validation rows, whichever is measured."""
    rows, controls = out / ROWS / half, split.replace("forget", "holdout", 1)
    values = {**common, "data": str(rows), "forget_split": split, "seeds": list(seeds), "attacks": list(attacks)}
    entries = [{"name": name, **each} for name, each in runs.items()]
    if (rows / f"{controls}.json").is_file():
        values["holdout"] = f"{rows}:{controls}"
        entries = [{"holdout": f"{out / ROWS / VALIDATION}:{controls}", **entry} for entry in entries]
    file = out / f"{half}.yaml"
    with whole_file(file) as part:
        part.write_text(yaml.safe_dump({**values, "runs": entries}, sort_keys=False), encoding="utf-8")
    return file


def choose(method: Method, searched: Sequence[Line], numbers: tuple[str, str]) -> Choice:
    """The setting of a method with the highest score; the first of those that are equal."""
    lines = {line.name: line for line in searched}
    scores = {setting.name: score(lines[setting.name], numbers) for setting in method.settings}
    measured = {name: value for name, value in scores.items() if value is not None}
    best = max(measured, key=lambda name: measured[name], default=None)
    return Choice(method, scores, next((s for s in method.settings if s.name == best), None))
