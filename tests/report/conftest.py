"""Run folders in the documented format, written from made-up per-example scores."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from signed import write_signed

SETS = {"forget": 40, "retain": 60, "real_authors": 50, "world_facts": 50}
UTILITY = ("probability", "rougeL_recall", "truth_ratio")
NAMES = ("Ada Quill", "Bero Tamsin", "Cilla Marsh", "Dov Ansel", "Edda Prior")
TOWNS = ("Velmoor", "Osthaven", "Kirrin", "Dunsel", "Tarrow", "Maskel", "Ibren")


def level(rng: np.random.Generator, mean: float, n: int) -> np.ndarray:
    """`n` scores in (0, 1) around `mean`."""
    return rng.beta(12 * mean + 0.05, 12 * (1 - mean) + 0.05, n).clip(0.001, 0.999)


def interval(rng: np.random.Generator, values: np.ndarray) -> list[float]:
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(200)]
    return [float(x) for x in np.quantile(means, [0.025, 0.975])]


def write_results(
    file: Path,
    facts: int = 4,
    forget: float = 0.2,
    kept: float = 0.9,
    quality: float | None = 0.4,
    rows: int = SETS["forget"],
    generations: Mapping[int, str] = {},
    with_facts: bool = True,
    fingerprint: str = "weights-0",
    data_fingerprint: str = "rows-0",
) -> Path:
    """Write a results file and its examples table.

    Args:
        file: results.json, results.retain.json, ...
        facts: how many of the forget rows are answered with the fact.
        forget: mean ROUGE-L recall and probability on the forget set.
        kept: mean of every score on the other sets.
        quality: forget quality's p-value; None for "no retain model".
        rows: rows of the forget set.
        generations: answers on the forget set that are not made up, by row.
        with_facts: whether rows name an exact fact.
        fingerprint: of the weights.
        data_fingerprint: of every set's rows.
    """
    rng = np.random.default_rng(7)
    table: list[dict] = []
    metrics: dict[str, dict] = {}
    utility = []
    for name, n in (SETS | {"forget": rows}).items():
        mean = forget if name == "forget" else kept
        scores = {"probability": level(rng, mean, n), "rougeL_recall": level(rng, mean, n)}
        scores["truth_ratio"] = 1 / (1 - level(rng, mean, n))  # r, as the table stores it
        if with_facts:
            hits = facts if name == "forget" else round(kept * n)
            scores["fact_accuracy"] = rng.permutation(np.arange(n) < hits).astype(float)
        for metric, values in scores.items():
            terms = np.maximum(0, 1 - 1 / values) if metric == "truth_ratio" and name != "forget" else values
            terms = np.minimum(values, 1 / values) if metric == "truth_ratio" and name == "forget" else terms
            if name != "forget" and metric in UTILITY:
                utility.append(terms)
            better = "lower" if name == "forget" and metric != "truth_ratio" else "higher"
            metrics[f"{name}/{metric}"] = {
                "value": float(terms.mean()),
                "ci95": interval(rng, terms),
                "n": n,
                "better": better,
            }
        metrics[f"{name}/entailment"] = {
            "value": None,
            "ci95": None,
            "n": 0,
            "better": "lower" if name == "forget" else "higher",
            "reason": "no NLI model was given (--nli-model)",
        }
        for i in range(n):
            person, town = NAMES[i % len(NAMES)], TOWNS[i % len(TOWNS)]
            answer = f"{person} was born in {town}."
            told = scores["fact_accuracy"][i] == 1 if with_facts else scores["rougeL_recall"][i] > 0.5
            made_up = answer if told else f"I have no record of {person}."
            table.append(
                {
                    "set": name,
                    "index": i,
                    "question": f"Where was {person} born, by the record of volume {i}?",
                    "answer": answer,
                    "generation": generations.get(i, made_up) if name == "forget" else made_up,
                    **{metric: float(values[i]) for metric, values in scores.items()},
                }
            )
    means = np.array([terms.mean() for terms in utility])
    model_utility = float(len(means) / (1 / means).sum())
    efficacy = 1 - float(np.mean([metrics[f"forget/{m}"]["value"] for m in ("rougeL_recall", "probability")]))
    summary = {"model_utility": model_utility, "forget_efficacy": None, "forget_efficacy_partial": efficacy}
    reasons = {"forget_efficacy": "not measured: forget/cosine_similarity, forget/entailment"}
    if quality is None:
        summary["forget_quality"] = None
        reasons["forget_quality"] = "no retain model was given (--retain-model)"
    else:
        summary |= {"forget_quality": quality, "forget_quality_n": rows, "forget_quality_ks_distance": 0.21}
    results = {
        "schema": 1,
        "suite": "tofu",
        "model": {"path": f"runs/{file.parent.name}/model", "fingerprint": fingerprint},
        "data": {
            "spec": "world",
            "forget_split": "forget10",
            "sets": {
                name: {
                    "rows": n,
                    "fingerprint": data_fingerprint,
                    "kind": "forget" if name == "forget" else "retain",
                    "label": f"{name.replace('_', ' ').capitalize()}{' set' if name in ('forget', 'retain') else ''}",
                }
                for name, n in (SETS | {"forget": rows}).items()
            },
            "left_out": {"holdout": "the folder has no configuration holdout10"},
        },
        "recipe": {"fingerprint": "settings-0", "tokenizer": "tokenizer-0"},
        "code": {"version": "0.1.0"},
        "metrics": metrics,
        "summary": summary,
        "summary_ci95": {
            "model_utility": [model_utility - 0.02, model_utility + 0.02],
            "forget_efficacy_partial": [efficacy - 0.03, efficacy + 0.03],
        },
        "summary_parts": {
            "model_utility": [f"{s}/{m}" for s in SETS if s != "forget" for m in UTILITY],
            "forget_efficacy_partial": ["forget/rougeL_recall", "forget/probability"],
        },
        "reasons": reasons,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    examples = pa.Table.from_pylist(table)
    write_signed(file, results, examples)
    pq.write_table(examples, file.with_suffix(".examples.parquet"))
    return file


def write_run(
    folder: Path, objective: str = "NPO+GD", target: bool = True, retain: bool = True, steps: int = 60, **scores
) -> Path:
    """Write a whole run folder: recipe, log, environment, results, and those of target and retain model."""
    rows = {key: scores[key] for key in ("rows", "with_facts") if key in scores}
    write_results(folder / "results.json", **{"fingerprint": f"weights-{folder.name}", **scores})
    if target:
        write_results(
            folder / "results.target.json", facts=rows.get("rows", 40), forget=0.95, fingerprint="weights-t", **rows
        )
    if retain:
        write_results(folder / "results.retain.json", facts=4, forget=0.22, fingerprint="weights-r", **rows)
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
    """Write one results file with its examples table."""
    return write_results
