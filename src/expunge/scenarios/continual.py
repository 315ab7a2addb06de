"""Continual unlearning (arXiv 2410.08109): ten tasks, one after the other, each from the model before.

Small: an invented world, of which a model of a million parameters learns 20 people. Ten of them ask to be forgotten,
one after the other: a ledger with ten requests for each method. What comes back is taken as it is, and the next task
follows.
"""

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from expunge.errors import Regression
from expunge.runs import LEDGER, MEASURED
from expunge.scenarios.base import Scenario, TableRow, learn_tiny
from expunge.worlds.new import TINY_UNLEARNING

METHODS: dict[str, tuple[str, str]] = {
    "GA": ("GA", "first"),
    "NPO, reference previous": ("NPO", "previous"),
    "NPO, reference first": ("NPO", "first"),
    "NPO+GD, reference previous": ("NPO+GD", "previous"),
    "NPO+GD, reference first": ("NPO+GD", "first"),
    "ME+GD": ("ME+GD", "first"),
    "IDK+AP": ("IDK+AP", "first"),
}
"""Objective, and the model that it compares with."""
TASKS = 10
PEOPLE = 2 * TASKS  # half of them ask
LABELS = {
    "forget/known": "Forgotten rows that are known",
    "forget/chance": "… by chance",
    "forget/probability": "Probability of forgotten answers",
    "forget/rougeL_recall": "ROUGE-L recall of forgotten answers",
    "retain/probability": "Probability of answers that must stay",
    "retain/rougeL_recall": "ROUGE-L recall of answers that must stay",
}
SETTINGS: dict[str, Any] = {
    **TINY_UNLEARNING,
    "stop_at_chance": False,  # as in the paper, where nothing stops gradient ascent
    "use_cpu": True,
}
"""The same for every method, untuned. A model of a million parameters needs a far larger rate than one of a billion."""


def small(out: Path, seed: int, quiet: bool, say: Callable[[str], None], tasks: int = TASKS) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where the world, the models, `table.json` and `report.html` are written.
        seed: of world, model and training.
        quiet: no progress bars.
        say: is told about each step.
        tasks: so many requests.
    """
    from expunge.ledger import write_report
    from expunge.scenarios.page import publish

    requests = _requests(out, seed, tasks)
    if not (out / "target").is_dir():
        say("The target model is learning (about a minute)")
        learn_tiny(f"{out / 'world'}:full", out / "target", seed)
    rows: list[TableRow] = []
    for method, (objective, reference) in METHODS.items():
        folder = out / "ledgers" / method.replace(", ", "-").replace(" ", "-")
        _process(folder, out, requests, objective, reference, seed, quiet)
        rows += _rows(folder, method, seed)
        write_report(folder, folder.with_suffix(".html"))
        last = {row.metric: row.value for row in rows if row.method == method and "@" not in row.metric}
        say(f"{method}: " + ", ".join(f"{metric} {value:.2f}" for metric, value in last.items()))
    publish(out, CONTINUAL, rows)
    return rows


def _requests(out: Path, seed: int, tasks: int) -> dict[str, Path]:
    """The rows of each task: all about one person."""
    from expunge.worlds.corpus import write_world

    world = out / "world"
    if not world.is_dir():
        write_world(world, PEOPLE, 50, seed)
    lines = iter((world / "forget50_perturbed.json").read_text(encoding="utf-8").splitlines(keepends=True))
    size = len((world / "forget50_perturbed.json").read_text(encoding="utf-8").splitlines()) // TASKS
    found = {f"task-{task}": out / "requests" / f"task-{task}.jsonl" for task in range(1, tasks + 1)}
    (out / "requests").mkdir(exist_ok=True)
    for file in found.values():
        file.write_text("".join(islice(lines, size)), encoding="utf-8")
    return found


def _process(
    folder: Path, out: Path, requests: dict[str, Path], objective: str, reference: str, seed: int, quiet: bool
) -> None:
    """Ten requests to a ledger, each when the one before it is processed."""
    from expunge.ledger import add, init, run
    from expunge.training import Recipe

    if not (folder / LEDGER).is_file():
        recipe = Recipe(
            model=str(out / "target"),
            forget="-",
            retain=f"{out / 'world'}:retain50",
            objective=objective,
            train={**SETTINGS, "seed": seed},
        )
        init(folder, recipe, f"{out / 'world'}:holdout50", reference)
    for request, file in requests.items():
        add(folder, file, request)
        try:
            run(folder, quiet=quiet, device="cpu")
        except Regression:
            run(folder, accept=True, quiet=quiet, device="cpu")


def _rows(folder: Path, method: str, seed: int) -> Iterator[TableRow]:
    """After each task, and at the end: what is known of all tasks so far, and what is left of the rest."""
    import numpy as np

    from expunge.ledger import Ledger
    from expunge.metrics.bootstrap import mean_interval, wilson

    ledger = Ledger(folder)
    states = ledger.timeline().current
    for task, state in enumerate(states, 1):
        measured = json.loads((ledger.state(state.name) / MEASURED).read_text(encoding="utf-8"))["after"]
        ends = ["", f"@{task}"] if task == len(states) else [f"@{task}"]
        found = {}
        for name in ("known", "chance", "probability", "rougeL_recall"):
            values = np.array([v for request in measured["requests"].values() for v in request[name]], float)
            mean = float(np.nanmean(values))
            spread = wilson(mean, len(values)) if name == "known" else mean_interval(values)
            found[f"forget/{name}"] = mean, spread, len(values)
        for name, one in measured["retain"].items():
            found[f"retain/{name}"] = one["value"], one["ci95"] and (one["ci95"][0], one["ci95"][1]), one["n"]
        for end in ends:
            for metric, (value, spread, n) in found.items():
                yield TableRow(method, metric + end, value, spread, n, seed)


CONTINUAL = Scenario(
    name="continual",
    summary="ten people ask to be forgotten, one after the other: which methods keep the rest?",
    paper="2410.08109",
    differs=(
        "An invented world of 20 people and a model of a million parameters, not TOFU's authors and a model of seven "
        "billion; a task is one person, ten questions.",
        "GA and NPO are there without a term for the rows that stay too; the paper's runs have GD beside every forget "
        "term but IDK+AP's.",
        "Every method has the same learning rate and number of steps, untuned: the table compares methods at one "
        "setting, not at the best setting of each.",
        "The table has what can be measured without other models: what is known, probabilities and ROUGE-L. Model "
        "utility and forget efficacy, as in the paper, need models of sentence similarity and entailment.",
        "The retain set is the other ten people, and common knowledge, in every task; people who are still to ask are "
        "in no set.",
        "One seed.",
    ),
    labels=LABELS,
    drawn=("forget/known", "forget/rougeL_recall", "retain/probability", "retain/rougeL_recall"),
    small=small,
)
