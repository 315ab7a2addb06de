"""MedForget's setting in pictures (arXiv 2512.09867): a vision-language model is to forget a patient.

Small: a small picture for each study of an invented hospital (`expunge.worlds.hospital_pictures`), which a LLaVA of a
million parameters learns; a retain model learns all but the first patient's, and each method unlearns those:

    OUT/world OUT/target OUT/retain
    OUT/runs/<method>       a run directory for each method
    OUT/measured/<model>.json
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from expunge.files import write_json
from expunge.scenarios.base import Scenario, TableRow, learn_tiny
from expunge.scenarios.hierarchy import MEASURED, Number, Records, by, gap, leak, measure, number, scores
from expunge.worlds.hospital import Shape
from expunge.worlds.new import TINY_UNLEARNING

SHAPE = Shape(institutions=2, patients=2, studies=2)
LEARNING = {"learning_rate": 1e-3, "num_train_epochs": 40, "per_device_train_batch_size": 8, "train_vision": True}
# The demo's, untuned, the same for every objective; an adapter needs a larger rate.
UNLEARNING: dict[str, Any] = {**TINY_UNLEARNING, "use_cpu": True}
METHODS: dict[str, tuple[str, dict[str, Any] | None, dict[str, Any]]] = {
    **{name: (name, None, UNLEARNING) for name in ("NPO+GD", "ME+GD", "IDK+AP")},
    "NPO+GD, LoRA": ("NPO+GD", {"r": 8}, {**UNLEARNING, "learning_rate": 1e-3}),
}
"""Objective, adapter and training settings of each method."""
TARGET, RETAIN = "target model", "retain model"
PARTS = ("forget", "retain", "holdout")


def small(out: Path, seed: int, quiet: bool, say: Callable[[str], None]) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where everything is written.
        seed: of world, models and training.
        quiet: no progress bars.
        say: is told about each step.
    """
    from expunge.worlds.hospital_pictures import write_pictures

    if not (out / "world").is_dir():
        write_pictures(out / "world", SHAPE, seed)
    for name, part in (("target", "full"), ("retain", "retain_patient")):
        if not (out / name).is_dir():
            say(f"A vision-language model learns {part} (a few minutes)")
            tokenizer = None if name == "target" else out / "target"
            learn_tiny(f"{out / 'world'}:{part}", out / name, seed, LEARNING, tokenizer)
    measured = {TARGET: _measured(out, TARGET, out / "target"), RETAIN: _measured(out, RETAIN, out / "retain")}
    for method in METHODS:
        measured[method] = _unlearned(out, method, seed, quiet)
    return [
        TableRow(name, metric, value, spread, n, seed)
        for name, one in measured.items()
        for metric, (value, spread, n) in _numbers(out, one, measured[RETAIN])
    ]


def _unlearned(out: Path, method: str, seed: int, quiet: bool) -> dict[str, Any]:
    """Unlearn with a method and measure; what was done before is not done again."""
    from expunge.training import Recipe, unlearn

    run, seconds = out / "runs" / method, None
    objective, lora, settings = METHODS[method]
    if not run.is_dir():
        recipe = Recipe.model_validate(
            {
                "model": str(out / "target"),
                "forget": f"{out / 'world'}:forget_patient",
                "retain": f"{out / 'world'}:retain_patient",
                "objective": objective,
                "lora": lora,
                "train": {**settings, "seed": seed},
            }
        )
        started = time.monotonic()
        unlearn(recipe, run, resume=True, quiet=quiet)
        seconds = time.monotonic() - started
    return _measured(out, method, run, seconds)


def _measured(out: Path, name: str, place: Path, seconds: float | None = None) -> dict[str, Any]:
    """What was measured of each row: by set and metric, one value or null for each."""
    from expunge.data import load_rows
    from expunge.models import load_model

    file = out / "measured" / f"{name}.json"
    if not file.is_file():
        model, words = load_model(place, device="cpu")
        parts = {p: measure(model, words, load_rows(f"{out / 'world'}:{p}_patient"), MEASURED) for p in PARTS}
        file.parent.mkdir(exist_ok=True)
        write_json(file, parts | {"seconds": seconds})
    return json.loads(file.read_text(encoding="utf-8"))


def _numbers(out: Path, measured: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, Number]]:
    """Every number of a model; `other` is measured of the retain model."""
    from expunge.data import load_records

    records: dict[str, Records] = {part: load_records(f"{out / 'world'}:{part}_patient") for part in PARTS}
    found = {part: scores(records[part], measured[part]) for part in PARTS}
    for part in PARTS:
        yield f"{part}/score", number(found[part])
        for columns in (("class",), ("task",), ("class", "task")):
            yield from ((f"{part}/{key}", number(v)) for key, v in by(columns, records[part], found[part]).items())
    yield "gap/score", gap(found["retain"], found["forget"])
    retained = scores(records["forget"], other["forget"])
    yield from ((f"leak/{key}", each) for key, each in leak(records["forget"], found["forget"], retained).items())
    given = np.array([record["probability"] for record in records["forget"]])
    yield from ((f"given/{key}", number(v)) for key, v in by(("class",), records["forget"], given).items())
    if measured["seconds"] is not None:
        yield "seconds", (measured["seconds"], None, 1)


MEDFORGET_IMAGES = Scenario(
    name="medforget-images",
    summary="a vision-language model is to forget a patient's pictures: is what they stand for gone, can it still see?",
    paper="2512.09867",
    differs=(
        "An invented world: 2 institutions, 2 patients each, 2 studies each with a picture of 28 pixels; a LLaVA of "
        "about a million parameters.",
        "One level, the patient.",
        "What was found is drawn in the picture, and who learned to read can read it there; everything else can only "
        "be remembered for the picture. Leak is measured against a model that never saw the patient, for both apart.",
        "No judge model: open answers are right word for word or not.",
        "Every method has the same learning rate and passes over the forget set, untuned; the adapter a larger rate.",
    ),
    labels={
        "forget/score": "Forget: score",
        "retain/score": "Retain: score",
        "gap/score": "Gap",
        "leak/independent/choice": "Leak of choices, remembered facts",
        "leak/independent/said": "Leak of answers, remembered facts",
        "leak/shown/choice": "Leak of choices, facts in the picture",
        "leak/shown/said": "Leak of answers, facts in the picture",
        "holdout/shown": "Reads pictures never seen",
        "seconds": "Seconds",
    },
    drawn=("gap/score", "leak/independent/choice", "leak/independent/said", "retain/score", "holdout/shown"),
    small=small,
)
