"""Run folders in the documented format, written from made-up per-example scores by the suite's own arithmetic."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from expunge.evaluation.results.aggregate import add_controls, measurements, summarise
from expunge.evaluation.results.schema import Data, Model, Results, RowSet, load_results
from expunge.evaluation.suites import SUITES
from expunge.evaluation.suites.definition import fingerprint_suite

SETS = {
    "tofu": {"forget": 40, "retain": 60, "real_authors": 50, "world_facts": 50},
    "own": {"forget": 40, "retain": 60, "holdout": 40},
    "muse": {"forget": 40, "forget_verbmem": 40, "retain_knowmem": 40},
}
NAMES = ("Ada Quill", "Bero Tamsin", "Cilla Marsh", "Dov Ansel", "Edda Prior")
TOWNS = ("Velmoor", "Osthaven", "Kirrin", "Dunsel", "Tarrow", "Maskel", "Ibren")


def level(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    """`n` scores in (0, 1) around `mean`."""
    return rng.beta(12 * mean + 0.05, 12 * (1 - mean) + 0.05, n).clip(0.001, 0.999)


def write_results(
    file: Path,
    facts: int = 4,
    forget: float = 0.2,
    kept: float = 0.9,
    quality: float | None = 0.4,
    rows: int | None = None,
    generations: Mapping[int, str] = {},
    with_facts: bool = True,
    fingerprint: str = "weights-0",
    data_fingerprint: str = "rows-0",
    suite: str = "tofu",
    controls: float = 0.2,
    member: float | None = None,
    without: tuple[str, ...] = (),
) -> Path:
    """Write a results file and its table of examples.

    Args:
        file: results.json, results.retain.json, ...
        facts: how many of the forget rows are answered with the fact.
        forget: mean of ROUGE and probability on the forget set.
        kept: mean of every score on the sets to keep.
        quality: forget quality's p-value; None for "no retain model". Suite tofu alone.
        rows: rows of the forget set, and of the controls.
        generations: answers on the forget set that are not made up, by row.
        with_facts: whether rows name an exact fact.
        fingerprint: of the weights.
        data_fingerprint: of every set's rows.
        suite: tofu, own or muse.
        controls: mean of every score on the holdout set; no control is answered with a fact.
        member: how far, in standard deviations, the forget set's loss and min-k are from the holdout set's.
        without: sets left out.
    """
    rng = np.random.default_rng(7)
    described = SUITES[suite]
    sizes = {name: n for name, n in SETS[suite].items() if name not in without}
    if member is not None:
        sizes |= {"holdout": sizes["forget"]}
    if rows is not None:
        sizes |= {name: rows for name in ("forget", "holdout") if name in sizes}
    specs = [spec for spec in described.sets if spec.name in sizes]
    table: list[dict] = []
    for spec in specs:
        n, mean = sizes[spec.name], {"forget": forget, "holdout": controls, "retain": kept}[spec.kind]
        scores = {metric: level(rng, mean, n) for metric in ("probability", "rougeL_recall", "rougeL_f1")}
        scores["truth_ratio"] = 1 / (1 - level(rng, mean, n))  # r, as the table stores it
        hits = {"forget": facts, "holdout": 0, "retain": round(kept * n)}[spec.kind]
        scores["fact_accuracy"] = rng.permutation(np.arange(n) < hits).astype(float)
        for attack in ("mia_loss", "mia_min_k") if member is not None else ():
            sign = -1 if attack == "mia_loss" else 1
            scores[attack] = rng.normal(sign * member if spec.kind == "forget" else 0.0, 1.0, n)
        reported = {metric.name for metric in described.metrics_of(spec)}
        scores = {name: values for name, values in scores.items() if name in reported}
        for i in range(n):
            person, town = NAMES[i % len(NAMES)], TOWNS[i % len(TOWNS)]
            answer = f"{person} was born in {town}."
            told = scores["fact_accuracy"][i] == 1 if with_facts and "fact_accuracy" in scores else mean > 0.5
            made_up = answer if told else f"I have no record of {person}."
            table.append(
                {
                    "set": spec.name,
                    "index": i,
                    "question": f"Where was {person} born, by the record of volume {i}?",
                    "answer": answer,
                    "generation": generations.get(i, made_up) if spec.kind == "forget" else made_up,
                    **{name: float(values[i]) for name, values in scores.items()},
                }
            )
    columns = dict.fromkeys(name for row in table for name in row)
    if not with_facts:
        columns.pop("fact_accuracy", None)
    examples = pa.table({name: [row.get(name) for row in table] for name in columns})
    names = [spec.name for spec in specs]
    left_out = {spec.name: f"the folder has no configuration {spec.name}" for spec in described.sets} if without else {}
    left_out = {name: why for name, why in left_out.items() if name in without}
    if "holdout" not in names:
        left_out["holdout"] = "the folder has no configuration holdout10"
    summary = summarise(described, examples, names, left_out)
    add_controls(summary, described, examples, names)
    if suite == "tofu":
        if quality is None:
            summary.values["forget_quality"] = None
            summary.reasons["forget_quality"] = "no retain model was given (--retain-model)"
        else:
            made_up = {"forget_quality": quality, "forget_quality_n": sizes["forget"]}
            summary.values.update(made_up | {"forget_quality_ks_distance": 0.21})
    sets = {spec.name: RowSet(sizes[spec.name], data_fingerprint, spec.kind, spec.label) for spec in specs}
    Results(
        suite=suite,
        model=Model(f"runs/{file.parent.name}/model", fingerprint),
        data=Data("world", "", "forget10", sets, left_out),
        recipe={
            "fingerprint": "settings-0",
            "suite_fingerprint": fingerprint_suite(SUITES[suite]),
            "tokenizer": "tokenizer-0",
            "leading": described.leading,
        },
        code={"version": "0.1.0"},
        metrics=measurements(described, examples, names),
        summary=summary,
        table=examples,
    ).save(file)
    return file


def edit_results(file: Path, change: Callable[[Results], Results | None]) -> None:
    """Read a results file, change it (in place, or by returning another) and write it again."""
    results = load_results(file)
    (change(results) or results).save(file)


def write_run(
    folder: Path,
    objective: str = "NPO+GD",
    target: bool = True,
    retain: bool = True,
    steps: int = 60,
    target_scores: Mapping[str, object] = {},
    retain_scores: Mapping[str, object] = {},
    **scores,
) -> Path:
    """Write a whole run folder: recipe, log, environment, results, and those of target and retain model.

    Args:
        folder: the run.
        objective: in its recipe.
        target: whether the target's results lie beside the run's.
        retain: whether the retain model's do.
        steps: logged.
        target_scores: options of `write_results` for the target.
        retain_scores: the same for the retain model.
        **scores: the same for the run; what decides the rows holds for all three.
    """
    shared = {key: scores[key] for key in ("rows", "with_facts", "suite", "without") if key in scores}
    member = {"member": 0.0} if "member" in scores else {}
    write_results(folder / "results.json", **{"fingerprint": f"weights-{folder.name}", **scores})
    if target:
        known = {"facts": scores.get("rows", 40), "forget": 0.95, "fingerprint": "weights-t"}
        known |= {"member": 4.0} if member else {}
        write_results(folder / "results.target.json", **{**known, **shared, **target_scores})
    if retain:
        unseen = {"facts": 4, "forget": 0.22, "fingerprint": "weights-r", **member}
        write_results(folder / "results.retain.json", **{**unseen, **shared, **retain_scores})
    recipe = {
        "model": "models/target",
        "forget": "world:forget10",
        "retain": "world:retain90",
        "idk": None,
        "objective": {"name": objective, **({"NPO.weight": 0.5, "NPO.beta": 0.1} if "NPO" in objective else {})},
        "train": {
            "learning_rate": 1e-3,
            "num_train_epochs": 5.0,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "seed": 7,
        },
        "lora": None,
        "trust_remote_code": False,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    first, _, second = objective.partition("+")
    log = [
        {
            "step": i,
            "epoch": i / 12,
            "loss": 3 / i,
            "terms": {first: 2 / i, **({second: 1 / i} if second else {})},
            "grad_norm": 40 / i**2,
            "learning_rate": 1e-3 * (1 - i / steps),
            "seconds": 0.2 * i,
            "tokens": 900 * i,
        }
        for i in range(1, steps + 1)
    ]
    (folder / "train_log.jsonl").write_text("".join(json.dumps(step) + "\n" for step in log))
    environment = {
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "platform": "Linux",
        "seed": 7,
        "fingerprints": {"target_model": "weights-t", "forget": "rows-f", "retain": "rows-r"},
        "rows": {"forget": 40, "retain": 360},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder under the test's own folder: `make_run("name", facts=2, ...)`."""
    return lambda name="run", **options: write_run(tmp_path / name, **options)


@pytest.fixture
def make_results() -> Callable[..., Path]:
    """Write one results file with its table of examples."""
    return write_results


@pytest.fixture
def change() -> Callable[[Path, Callable[[Results], Results | None]], None]:
    """Change a results file: `change(file, lambda results: ...)`."""
    return edit_results
