"""What an unlearning run cost, in model FLOPs: for the comparison with fine-tuning or RLHF (LLMU, arXiv 2310.10683)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open
from transformers import PreTrainedModel

from expunge.errors import InputError
from expunge.evaluation.results.schema import Summary
from expunge.files import parse_yaml
from expunge.objectives import Objective, build_objective
from expunge.runs import ADAPTER, ENVIRONMENT, RECIPE, TRAIN_LOG

FORWARD, BACKWARD, WEIGHTS = 2, 2, 2  # per token and parameter: forward, gradient of activations, gradient of weights


@dataclass(frozen=True)
class Cost:
    """Model FLOPs of a run and the training tokens they follow from, or why they are not known."""

    flops: float | None
    tokens: int = 0
    reason: str = ""


def training_flops(tokens: int, parameters: int, trained: int, reference: bool) -> float:
    """(4 N + 2 N_trained) D, and 2 N D for a reference model: 6 N D or 8 N D where all weights are trained.

    Args:
        tokens: D, of every view of every training step, prompts included and padding not.
        parameters: N, all of the model's.
        trained: N_trained: all, or the adapter's.
        reference: whether the objective compares with the model before unlearning. Its forward counts once per training
            token, as where two models run side by side; expunge computes each row once, so this is an upper bound.
    """
    per_token = (FORWARD + BACKWARD) * parameters + WEIGHTS * trained + (FORWARD * parameters if reference else 0)
    return float(per_token) * tokens


def run_cost(path: str | Path, model: PreTrainedModel) -> Cost | None:
    """The cost of the run that made a model, from its recipe and log; None where there is no run.

    Args:
        path: where the model was read from: a run folder, or the model or adapter in one.
        model: that model, an adapter merged into it.
    """
    folder = run_folder(path)
    if folder is None:
        return None
    try:
        recipe = parse_yaml((folder / RECIPE).read_text(encoding="utf-8"))
        named = recipe["objective"]
        options = {} if isinstance(named, str) else {key: value for key, value in named.items() if key != "name"}
        objective = build_objective(named if isinstance(named, str) else named["name"], options)
        tokens = logged_tokens(folder)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, InputError) as error:
        return Cost(None, reason=f"the run's recipe, log or environment cannot be read ({error})")
    if uncounted := _uncounted(recipe, objective):
        return Cost(None, reason=f"the run's log does not count {uncounted}")
    parameters = sum(p.numel() for p in model.parameters())
    trained = stored_parameters(folder / ADAPTER) if recipe.get("lora") else parameters
    return Cost(training_flops(tokens, parameters, trained, objective.uses_reference), tokens)


def add_cost(summary: Summary, cost: Cost | None) -> None:
    """Add `flops` of the run that made the model, with the training tokens they are for; nothing where it is no run."""
    if cost is None:
        return
    summary.values["flops"] = cost.flops
    if cost.flops is None:
        summary.reasons["flops"] = cost.reason
    else:
        summary.values["flops_tokens"] = cost.tokens


def run_folder(path: str | Path) -> Path | None:
    """The run folder that a model's path is, or lies in."""
    return next(
        (f for f in (Path(path), Path(path).parent) if (f / RECIPE).is_file() and (f / TRAIN_LOG).is_file()), None
    )


def logged_tokens(folder: Path) -> int:
    """Training tokens of all steps and processes. The log counts one process, and anew after each resume.

    A resume shows in a count that does not grow.
    """
    counts = [json.loads(line)["tokens"] for line in (folder / TRAIN_LOG).read_text(encoding="utf-8").splitlines()]
    ends = [count for count, after in pairwise([*counts, 0]) if after <= count]
    return sum(ends) * int(json.loads((folder / ENVIRONMENT).read_text(encoding="utf-8"))["processes"])


def stored_parameters(folder: Path) -> int:
    """The number of parameters of a saved model or adapter."""
    count = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(str(file), "pt") as tensors:
            count += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


def _uncounted(recipe: Mapping[str, Any], objective: Objective) -> str | None:
    """What a run computes beside the passes of its log, in words; None where that is nothing."""
    train = recipe.get("train") or {}
    if train.get("gradient") == "sharpness":
        return "the second pass over the forget rows of train.gradient=sharpness"
    if train.get("salient_share") is not None:
        return "the pass that chose the tensors of train.salient_share, nor how many parameters were trained"
    if "forget_alternate" in objective.views:
        return "the sampling of alternative answers"
    if any(part.term.trained_layers is not None for part in objective.terms):
        return f"which part of the model's layers {objective.name} runs"
    return None
