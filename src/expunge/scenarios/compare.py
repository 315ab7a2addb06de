"""One request, several methods: each makes the target model forget, and all are measured alike."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.runs import RESULTS, unfinished
from expunge.scenarios.base import Say, TableRow

if TYPE_CHECKING:
    from expunge.evaluation import ComparedWith, JudgeModels, Questions, Results

TARGET = "target model"
PARTS = {"privleak": ("forget/mia_min_k",)}
"""What numbers over sets are from that are no means of metrics."""


@dataclass(frozen=True)
class Request:
    """What is to be forgotten, and how it is measured.

    Attributes:
        target: the model that must forget.
        forget: SPEC of the forget rows.
        retain: SPEC of the retain rows.
        questions: what every model is asked.
        metrics: of the table, as in results.json: `forget/probability`, or a number over sets.
        train: settings of every method.
        label: before the names of the methods, where there are several requests.
        options: of methods' objectives, by method; default: none, and the method is the objective's name.
        training: of single methods, over `train`.
        compared_with: the retain model, where there is one.
        judges: the models that judge outputs, where there are any.
    """

    target: str
    forget: str
    retain: str
    questions: "Questions"
    metrics: Sequence[str]
    train: Mapping[str, Any]
    label: str = ""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compared_with: "ComparedWith | None" = None
    judges: "JudgeModels | None" = None


def published(rows: int, rate: float, longest: int) -> dict[str, Any]:
    """The training of 2410.08109: five passes in whole steps of 32 rows, as its code counts them; one of warm-up.

    Args:
        rows: of the forget set.
        rate: the learning rate.
        longest: tokens of a row.
    """
    import torch

    return {
        "learning_rate": rate,
        "max_steps": max(1, 5 * rows // 32),
        "dataloader_drop_last": rows >= 32,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "warmup_steps": 0 if rows < 64 else rows // 32,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.01,
        "max_length": longest,
        "bf16": torch.cuda.is_available(),  # autocast: the weights stay float32
        "activation_checkpointing": True,
        "stop_at_chance": False,
        "save_strategy": "no",
    }


def compare(
    request: Request, objectives: Sequence[str], out: Path, seed: int, quiet: bool, say: Say
) -> Iterator[TableRow]:
    """Unlearn and measure with each objective; what lies in `out` already is not done again.

    Args:
        request: what is asked.
        objectives: the methods.
        out: of a run folder for each.
        seed: of the training.
        quiet: no progress bars.
        say: is told of each method.

    Yields:
        The rows of the table, the target model's first.
    """
    before = measured(request, request.target, out / "target" / RESULTS)
    yield from table_rows(before, f"{request.label}{TARGET}", request.metrics, seed)
    for objective in objectives:
        results = unlearned(request, objective, out / objective, seed, quiet)
        rows = list(table_rows(results, f"{request.label}{objective}", request.metrics, seed))
        say(f"{request.label}{objective}: " + ", ".join(f"{row.metric} {row.value:.2f}" for row in rows))
        yield from rows


def unlearned(request: Request, method: str, place: Path, seed: int, quiet: bool) -> "Results":
    """Unlearn with a method into a run folder, if it is not there, and measure it."""
    from expunge.training import Recipe, unlearn

    if not place.is_dir():
        shutil.rmtree(unfinished(place), ignore_errors=True)
        recipe = Recipe(
            model=request.target,
            forget=request.forget,
            retain=request.retain,
            objective={"name": method, **request.options.get(method, {})},
            train={**request.train, **request.training.get(method, {}), "seed": seed},
        )
        unlearn(recipe, place, quiet=quiet)
    return measured(request, place, place / RESULTS)


def measured(request: Request, model: str | Path, out: Path) -> "Results":
    """Ask a model the request's questions; a model that was asked them before is not asked again."""
    from expunge.evaluation import ComparedWith, Execution, JudgeModels, evaluate

    return evaluate(
        model,
        request.questions,
        compared_with=request.compared_with or ComparedWith(),
        judges=request.judges or JudgeModels(),
        execution=Execution(device="cpu" if request.train.get("use_cpu") else None),
        out=out,
    )


def table_rows(results: "Results", method: str, metrics: Sequence[str], seed: int) -> Iterator[TableRow]:
    """The numbers that were measured; of one over sets, n counts the rows of its sets."""
    for name in metrics:
        if "/" in name:
            one = results.metrics.get(name)
            if one is not None and one.value is not None:
                yield TableRow(method, name, one.value, one.ci95, one.n, seed)
        elif (value := results.summary.values.get(name)) is not None:
            parts = results.summary.parts.get(name, PARTS.get(name, ()))
            sizes = {part.partition("/")[0]: results.metrics[part].n for part in parts}
            yield TableRow(method, name, float(value), results.summary.ci95.get(name), sum(sizes.values()), seed)
