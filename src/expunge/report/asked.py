"""What the runs were asked to do, in words: shared facts once, then each run's objective and settings."""

import sys
from collections.abc import Mapping
from typing import Any

from expunge.errors import InputError
from expunge.report.comparison import Comparison, RunResult
from expunge.report.words import set_label


def asked(comparison: Comparison) -> dict[str, Any]:
    """Facts that the runs share, and each run's objective with its settings."""

    def shared(key: str) -> list[str]:
        found = []
        for run in (run for run in comparison.runs if run.recipe.get(key) is not None):
            rows = (run.environment.get("rows") or {}).get(key)
            found.append(f"{run.recipe[key]} ({rows} rows)" if rows else str(run.recipe[key]))
        return list(dict.fromkeys(found))

    results = comparison.runs[0].results
    sets = ", ".join(f"{set_label(name, results)} ({rows.rows} rows)" for name, rows in results.data.sets.items())
    return {
        "facts": [
            ("Model that had to forget", shared("model")),
            ("Forget set", shared("forget")),
            ("Retain set", shared("retain")),
            ("Refusals", shared("idk")),
            ("Measured on", [f"{results.data.spec}, suite {results.suite}: {sets}"]),
        ],
        "objectives": [(run.name, terms(run), settings_in_words(run)) for run in comparison.runs],
    }


def terms(run: RunResult) -> list[tuple[str, float, str]]:
    """The terms of a run's objective: name, weight, and what it does in one line."""
    from expunge.objectives import build_objective

    options = run.recipe.get("objective")
    if run.objective is None:
        return []
    try:
        known = isinstance(options, Mapping)
        objective = build_objective(run.objective, {k: v for k, v in options.items() if k != "name"} if known else {})
    except InputError:  # a custom objective
        return []
    lines = [(sys.modules[type(part.term).__module__].__doc__ or "").strip().split("\n")[0] for part in objective.terms]
    return [
        (part.name, part.weight, line.removeprefix(f"{part.name}: "))
        for part, line in zip(objective.terms, lines, strict=True)
    ]


def settings_in_words(run: RunResult) -> str:
    """The training settings that matter most, as a sentence."""
    if not run.recipe:
        return "Settings are not recorded: no recipe.yaml lies beside the results."
    # The environment has the defaults that a recipe leaves out.
    train = {**(run.environment.get("train") or {}), **(run.recipe.get("train") or {})}
    lora, seed = run.recipe.get("lora"), train.get("seed", run.environment.get("seed"))
    rows, times = train.get("per_device_train_batch_size"), train.get("gradient_accumulation_steps")
    last = run.steps[-1] if run.steps else None
    parts = [
        f"only a LoRA adapter of rank {lora.get('r')} trained" if lora else "all weights trained",
        f"learning rate {train['learning_rate']:g}" if "learning_rate" in train else "",
        f"{train['num_train_epochs']:g} passes over the forget set" if "num_train_epochs" in train else "",
        f"{rows * times} forget rows a step and process ({rows} × {times})" if rows and times else "",
        f"seed {seed}" if seed is not None else "",
        f"{last.step} optimiser steps" if last else "",
        f"{last.seconds:.0f} seconds" if last and last.seconds else "",
    ]
    sentence = ", ".join(part for part in parts if part)
    return sentence[0].upper() + sentence[1:] + "."
