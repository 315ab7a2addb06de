"""Continual unlearning (arXiv 2410.08109): ten tasks, one after the other, each from the model before.

A ledger with ten requests for each method. What comes back is taken as it is, and the next task follows. Small: an
invented world, of which a model of a million parameters learns 20 people; ten of them ask to be forgotten. Full: TOFU's
tasks, the retain set being what must stay and the tasks that are still to come.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from expunge.errors import InputError, Regression
from expunge.files import write_jsonl
from expunge.runs import LEDGER, MEASURED
from expunge.scenarios.base import Say, Scenario, Sources, TableRow, learn_tiny
from expunge.worlds.new import TINY_UNLEARNING

NPO_GD = ("NPO+GD, reference previous", "NPO+GD, reference first")
METHODS = ("GA", "NPO, reference previous", "NPO, reference first", *NPO_GD, "ME+GD", "IDK+AP")
"""Objectives, and the model that they compare with, if any: the one before each task, or the first."""
PUBLISHED = ("GA+GD", *NPO_GD, "DPO+GD, reference previous", "IDK+GD", "ME+GD", "IDK+AP")
"""Of the full form: the paper's, with the model before each task as reference, and NPO with the first one too."""
TASKS, TASK_ROWS = 10, "continual01_perturbed"
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


@dataclass(frozen=True)
class Requests:
    """What is asked of every method.

    Attributes:
        target: the first model.
        files: rows of each task, by its id, in order.
        retain: SPEC of what must stay; of it the ledger leaves out what was requested so far.
        train: settings of every method.
        holdout: SPEC of rows never trained on, where there are any.
    """

    target: str
    files: Mapping[str, Path]
    retain: str
    train: Mapping[str, Any]
    holdout: str | None = None


def small(out: Path, seed: int, quiet: bool, say: Say, tasks: int = TASKS) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where the world and the models are written.
        seed: of world, model and training.
        quiet: no progress bars.
        say: is told about each step.
        tasks: so many requests.
    """
    files, world = _people(out, seed, tasks), out / "world"
    if not (out / "target").is_dir():
        say("The target model is learning (about a minute)")
        learn_tiny(f"{world}:full", out / "target", seed)
    requests = Requests(str(out / "target"), files, f"{world}:retain50", SETTINGS, f"{world}:holdout50")
    return _run(requests, METHODS, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The paper's setting on a model that knows TOFU, on tasks in the layout of its released data.

    Raises:
        InputError: no data is given, or its tasks are in another layout.
    """
    from expunge.data import load_records
    from expunge.scenarios.compare import published

    if given.data is None:
        raise InputError(f"Scenario {CONTINUAL.name} needs {CONTINUAL.takes}.")
    tasks = task_rows(f"{given.data}:{TASK_ROWS}")
    files = {f"task-{task}": out / "requests" / f"task-{task}.jsonl" for task in tasks}
    (out / "requests").mkdir(exist_ok=True)
    for file, rows in zip(files.values(), tasks.values(), strict=True):
        write_jsonl(file, rows)
    kept = load_records(given.retain or f"{given.data}:retain90")
    write_jsonl(out / "retain.jsonl", [*kept, *(row for rows in tasks.values() for row in rows)])
    train = published(min(map(len, tasks.values())), 1e-5, 500)
    requests = Requests(given.model, files, str(out / "retain.jsonl"), train)
    return _run(requests, PUBLISHED, out, seed, quiet, say)


def task_rows(spec: str) -> dict[int, list[dict[str, Any]]]:
    """The rows of each task, by its number, in order.

    Args:
        spec: of rows with a column `task_id`: 1 for those that are forgotten first.

    Raises:
        InputError: a row has no such number.
    """
    from expunge.data import load_records

    found: dict[int, list[dict[str, Any]]] = {}
    for i, record in enumerate(load_records(spec)):
        number = str(record.get("task_id"))
        if not number.isdecimal():
            raise InputError(f"{spec}, row {i}: 'task_id' must be the number of its task, 1, 2 ..., not {number!r}.")
        found.setdefault(int(number), []).append(record)
    return dict(sorted(found.items()))


def _run(
    requests: Requests,
    methods: Sequence[str],
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
) -> list[TableRow]:
    from expunge.ledger import write_report

    rows: list[TableRow] = []
    for method in methods:
        objective, _, reference = method.partition(", reference ")
        folder = out / "ledgers" / method.replace(", ", "-").replace(" ", "-")
        _process(folder, requests, objective, reference or "first", seed, quiet)
        rows += _rows(folder, method, seed)
        write_report(folder, folder.with_suffix(".html"))
        last = {row.metric: row.value for row in rows if row.method == method and "@" not in row.metric}
        say(f"{method}: " + ", ".join(f"{metric} {value:.2f}" for metric, value in last.items()))
    return rows


def _people(out: Path, seed: int, tasks: int) -> dict[str, Path]:
    """The rows of each task: all about one person."""
    from expunge.worlds.corpus import write_world

    world = out / "world"
    if not world.is_dir():
        write_world(world, PEOPLE, 50, seed)
    rows = (world / "forget50_perturbed.json").read_text(encoding="utf-8").splitlines(keepends=True)
    lines, size = iter(rows), len(rows) // TASKS
    found = {f"task-{task}": out / "requests" / f"task-{task}.jsonl" for task in range(1, tasks + 1)}
    (out / "requests").mkdir(exist_ok=True)
    for file in found.values():
        file.write_text("".join(islice(lines, size)), encoding="utf-8")
    return found


def _process(folder: Path, requests: Requests, objective: str, reference: str, seed: int, quiet: bool) -> None:
    """Requests to a ledger, each when the one before it is processed. Of its states the last keeps its weights."""
    from expunge.ledger import add, init, run
    from expunge.training import Recipe

    if not (folder / LEDGER).is_file():
        recipe = Recipe(
            model=requests.target,
            forget="-",
            retain=requests.retain,
            objective=objective,
            train={**requests.train, "seed": seed},
        )
        init(folder, recipe, requests.holdout, reference)
    device = "cpu" if requests.train.get("use_cpu") else None
    for request, file in requests.files.items():
        add(folder, file, request)
        try:
            run(folder, prune=True, quiet=quiet, device=device)
        except Regression:
            run(folder, accept=True, prune=True, quiet=quiet, device=device)


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


FULL_DIFFERS = (
    "The table has what can be measured without other models: what is known, probabilities and ROUGE-L. Model "
    "utility and forget efficacy, as in the paper, need models of sentence similarity and entailment.",
    "What must stay is measured on 100 rows, evenly spaced in the retain set of each task.",
    "KL in GD's place is not run.",
    "One seed.",
)
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
        FULL_DIFFERS[0],
        "The retain set is the other ten people, and common knowledge, in every task; people who are still to ask are "
        "in no set; in the paper they are in the retain set until they ask.",
        "One seed.",
    ),
    labels=LABELS,
    drawn=("forget/known", "forget/rougeL_recall", "retain/probability", "retain/rougeL_recall"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model MODEL --data TOFU [--retain SPEC]",
)
