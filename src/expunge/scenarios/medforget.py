"""MedForget's setting on text (arXiv 2512.09867): forget one institution, patient, study or section of a tree.

Small: an invented tree of hospitals (`expunge.worlds.hospital_rows`), which a model of a million parameters learns. For
each level a node and all below it is to be forgotten, a retain model learns the rest, and each method unlearns:

    OUT/world OUT/target
    OUT/<level>/retain              the retain model
    OUT/<level>/runs/<method>       a run directory for each method
    OUT/<level>/measured/<model>.json
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expunge.files import write_json
from expunge.metrics import Metric
from expunge.scenarios.base import REPORT, Scenario, TableRow, learn_tiny, write_table
from expunge.scenarios.hierarchy import LADDER, MEASURED, Number, by, gap, leak, measure, number, scores
from expunge.worlds.hospital import LEVELS, Level, Shape
from expunge.worlds.new import TINY_UNLEARNING

SHAPE = Shape(institutions=3, patients=2, studies=2)
LEARNING = {"num_train_epochs": 32, "per_device_train_batch_size": 8}
# The demo's, untuned: the same for every objective, but RESET, which learns the retain set again.
UNLEARNING: dict[str, Any] = {**TINY_UNLEARNING, "use_cpu": True}
REMOVING: dict[str, Any] = {
    **UNLEARNING,
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 8,
    "warmup_steps": 5,
    "lr_scheduler_type": "warmup_stable_decay",
}
REMOVAL = {"name": "RESET", "reset": 0.7, "every": 4, "held": "both"}
METHODS: dict[str, tuple[str | dict[str, Any], dict[str, Any]]] = {
    **{name: (name, UNLEARNING) for name in ("GA+GD", "NPO+GD", "DPO+GD", "IDK+AP", "ME+GD", "LLMU")},
    "CHIP": ("GA+GD", {**UNLEARNING, "chip": 0.1, "max_steps": 0}),
    "RESET": (REMOVAL, REMOVING),
}
"""Objective and training settings of each method."""
TARGET, RETAIN = "target model", "retain model"


def small(
    out: Path,
    seed: int,
    quiet: bool,
    say: Callable[[str], None],
    levels: Sequence[Level] = LEVELS,
    methods: Sequence[str] = tuple(METHODS),
) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where everything is written.
        seed: of world, models and training.
        quiet: no progress bars.
        say: is told about each step.
        levels: of the tree, at each of which there is a request.
        methods: that unlearn.
    """
    from expunge.scenarios.medforget_page import write_page
    from expunge.worlds.hospital_rows import write_hospital

    if not (out / "world").is_dir():
        write_hospital(out / "world", SHAPE, seed)
    _learn(out / "target", out, "full", seed, say)
    rows: list[TableRow] = []
    for level in levels:
        (out / level).mkdir(exist_ok=True)
        _learn(out / level / "retain", out, f"retain_{level}", seed, say)
        measured = {
            TARGET: _measured(out, level, TARGET, out / "target"),
            RETAIN: _measured(out, level, RETAIN, out / level / "retain"),
        }
        for method in methods:
            measured[method] = _unlearned(out, level, method, seed, quiet)
        mine = [row for name, one in measured.items() for row in _rows(out, level, name, one, measured[RETAIN], seed)]
        for method in methods:
            told = {r.metric: r.value for r in mine if r.method == method}
            words = (f"{metric} {told[f'{level}/{metric}']:.2f}" for metric in ("gap/score", "leak/independent/choice"))
            say(f"{level}, {method}: {', '.join(words)}")
        rows += mine
        write_table(out, MEDFORGET.name, rows)
        write_page(out / REPORT, MEDFORGET, rows)
    return rows


def _learn(place: Path, out: Path, part: str, seed: int, say: Callable[[str], None]) -> None:
    """Make a model that has learned a part of the world, if it is not there; all have the target's tokenizer."""
    if place.is_dir():
        return
    say(f"A model learns {part} (a minute or two)")
    tokenizer = None if place == out / "target" else out / "target"
    learn_tiny(f"{out / 'world'}:{part}", place, seed, LEARNING, tokenizer)


def _unlearned(out: Path, level: Level, method: str, seed: int, quiet: bool) -> dict[str, Any]:
    """Unlearn with a method and measure; what was done before is not done again."""
    from expunge.training import Recipe, unlearn

    run, seconds = out / level / "runs" / method, None
    if not run.is_dir():
        objective, settings = METHODS[method]
        recipe = Recipe(
            model=str(out / "target"),
            forget=f"{out / 'world'}:forget_{level}",
            retain=f"{out / 'world'}:retain_{level}",
            holdout=f"{out / 'world'}:holdout_{level}" if method == "RESET" else None,
            objective=objective,
            train={**settings, "seed": seed},
        )
        started = time.monotonic()
        unlearn(recipe, run, resume=True, quiet=quiet)
        seconds = time.monotonic() - started
    return _measured(out, level, method, run / "model", seconds)


def _measured(out: Path, level: Level, name: str, place: Path, seconds: float | None = None) -> dict[str, Any]:
    """What was measured of each row: by set and metric, one value or null for each."""
    from expunge.data import load_rows
    from expunge.models import load_model

    file = out / level / "measured" / f"{name}.json"
    if not file.is_file():
        model, words = load_model(place, device="cpu")

        def values(part: str, metrics: Mapping[str, tuple[Metric, ...]]) -> dict[str, list[float | None]]:
            return measure(model, words, load_rows(f"{out / 'world'}:{part}_{level}"), metrics)

        file.parent.mkdir(exist_ok=True)
        parts = {part: values(part, MEASURED) for part in ("forget", "retain", "holdout")}
        write_json(file, parts | {"ladder": values("ladder", {"open": LADDER}), "seconds": seconds})
    return json.loads(file.read_text(encoding="utf-8"))


def _records(out: Path, part: str) -> list[Mapping[str, Any]]:
    from expunge.data import load_records

    return list(load_records(f"{out / 'world'}:{part}"))


def _rows(
    out: Path, level: Level, name: str, measured: dict[str, Any], other: dict[str, Any], seed: int
) -> Iterator[TableRow]:
    """The rows of a model's table at a level."""
    for metric, (value, spread, n) in _numbers(out, level, measured, other).items():
        yield TableRow(name, f"{level}/{metric}", value, spread, n, seed)


def _numbers(out: Path, level: Level, measured: dict[str, Any], other: dict[str, Any]) -> dict[str, Number]:
    """Every number of a model at a level; `other` is measured of the retain model."""
    found: dict[str, Number] = {}
    score, rouge = {}, {}
    for part in ("forget", "retain", "holdout"):
        records = _records(out, f"{part}_{level}")
        score[part] = scores(records, measured[part])
        rouge[part] = np.array([v for v in measured[part]["rougeL_recall"] if v is not None], float)
        found[f"{part}/score"] = number(score[part])
        found[f"{part}/rougeL_recall"] = number(rouge[part])
        for columns in (("task",), ("level", "task")):
            found |= {f"{part}/{key}": number(each) for key, each in by(columns, records, score[part]).items()}
        if part == "retain":  # what stands beside the forgotten node, and above it
            found |= {f"retain/{key}": number(each) for key, each in by(("relation",), records, score[part]).items()}
    found["gap/score"] = gap(score["retain"], score["forget"])
    found["gap/rougeL_recall"] = gap(rouge["retain"], rouge["forget"])
    records = _records(out, f"forget_{level}")
    retain = scores(records, other["forget"])
    found |= {f"leak/{key}": each for key, each in leak(records, score["forget"], retain).items()}
    given = np.array([record["probability"] for record in records])
    found |= {f"given/{key}": number(each) for key, each in by(("class",), records, given).items()}
    ladder = _records(out, f"ladder_{level}")
    for metric in LADDER:
        mine, its = (np.array(one["ladder"][metric.name], float) for one in (measured, other))
        found |= {f"ladder/{metric.name}/{k}": number(each) for k, each in by(("rung",), ladder, mine).items()}
        found |= {f"ladder_leak/{metric.name}/{k}": number(v) for k, v in by(("rung",), ladder, mine - its).items()}
    if measured["seconds"] is not None:
        found["seconds"] = measured["seconds"], None, 1
    return found


MEDFORGET = Scenario(
    name="medforget",
    summary="one institution, patient, study or section of a tree is to be forgotten: does the rest give it back?",
    paper="2512.09867",
    differs=(
        "An invented text world of 3 institutions, 2 patients each, 2 studies each and 4 sections each, and a model of "
        "a million parameters; no images and no vision-language model.",
        "At the level of sections one of each kind is forgotten, of different patients: one alone has a fact or two.",
        "Leak is measured against a model that learned the rest of the tree alone, by how a fact hangs together with "
        "it; the tree's own probability is given beside it.",
        "No judge model: open answers are scored by ROUGE-L and by whether they are right word for word.",
        "Every method has the same learning rate and passes over the forget set, untuned, but RESET, which learns the "
        "retain set again.",
    ),
    labels={},  # its page is its own
    drawn=(),
    small=small,
)
