"""The demo: a world, a target and a retain model that learn it, seven objectives.

    OUT/world               the invented people and facts, in TOFU's layout
    OUT/target OUT/retain   the models before unlearning, with their results
    OUT/runs/<objective>    one run directory for each objective
    OUT/report.html         what came out (written by `expunge demo`, as by `expunge report`)

Target and retain model are kept in the user's cache folder too, under a fingerprint of all that decides their weights,
so that another demo with the same seed does not train them again. Nothing in them is anybody's: the people are
invented. Every objective gets the same settings, but RESET, which learns the retain set again, has its own; nothing but
the printed results depends on how they do. Each model is attacked: what does relearning bring back?
"""

import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import expunge
from expunge.errors import InputError
from expunge.files import whole_folder
from expunge.runs import companion_path
from expunge.worlds.corpus import write_world
from expunge.worlds.new import TINY_UNLEARNING as UNLEARNING

if TYPE_CHECKING:
    from expunge.evaluation.results import Results

REMOVAL = "RESET"  # the longest comes first
OBJECTIVES = (REMOVAL, "GA+GD", "NPO+GD", "DPO+GD", "IDK+AP", "ME+GD", "LLMU")

# An epoch is a pass over the retain set. Chosen among 8 to 15 passes in batches of 4 and 8 and reset .5 to .7: fewer
# passes cost utility.
REMOVING: dict[str, Any] = {
    "learning_rate": 2e-3,
    "num_train_epochs": 15,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 5,
    "lr_scheduler_type": "warmup_stable_decay",
    "save_strategy": "no",
}
RELEARNING = {"steps": (30,), "rates": (3e-4,)}
PEOPLE = 20
FORGET_PERCENT = 20  # 40 rows: with fewer, even no right answer at all would leave "forgotten" open
FORGET, RETAIN, HOLDOUT = "forget20", "retain80", "holdout20"
# Two models learn side by side, each on one thread: matrices this small gain nothing from two.
WORKERS = 2
SOURCES = ("data", "models", "objectives", "training", "worlds")


def demo(out: str | Path = "demo", seed: int = 0, say: Callable[[str], None] = print) -> list[Path]:
    """Run the demo.

    Args:
        out: The folder to make. An earlier demo there is replaced.
        seed: Of the world, the models' first weights and the order of all rows.
        say: Is told about each step.

    Returns:
        The run directories, one for each objective, with their results.

    Raises:
        InputError: `out` holds something else.
    """
    out = Path(out)
    _clear(out)
    write_world(out / "world", PEOPLE, FORGET_PERCENT, seed)
    say(f"{PEOPLE} invented people, {FORGET_PERCENT} % of them to be forgotten: {out / 'world'}")
    context = get_context("spawn")  # a forked process would inherit torch's threads in an unknown state
    with ProcessPoolExecutor(min(WORKERS, os.cpu_count() or 1), context, _prepare_worker) as pool:
        learn_models(out, seed, pool, say)
        pool.submit(_measure, out).result()
        say("Both measured. Now each objective makes the target model forget:")
        tasks = {pool.submit(_unlearn, objective, out, seed): objective for objective in OBJECTIVES}
        for task in as_completed(tasks):
            seconds, notes = task.result()
            say(f"  {tasks[task]}: {seconds:.0f} s")
            for note in notes:
                say(f"    note: {note}")
    return [out / "runs" / objective for objective in OBJECTIVES]


def learn_models(out: Path, seed: int, pool: Executor, say: Callable[[str], None]) -> None:
    """Make `out/target` and `out/retain` from `out/world`: trained side by side, or taken from the cache."""
    from expunge.data import load_rows
    from expunge.worlds.new import new_tiny

    full = load_rows(f"{out / 'world'}:full")
    _, tokenizer = new_tiny(full)  # both models have the target's tokenizer
    tokenizer.save_pretrained(out / "tokenizer")
    jobs = {"target": f"{out / 'world'}:full", "retain": f"{out / 'world'}:{RETAIN}"}
    places = {name: model_cache() / _fingerprint(spec, out / "tokenizer", seed) for name, spec in jobs.items()}
    tasks = {}
    for name, place in places.items():
        if place.is_dir():
            say(f"The {name} model was learned before: {place}")
        else:
            say(f"The {name} model is learning (about a minute)")
            tasks[pool.submit(_learn, jobs[name], out / "tokenizer", seed, place)] = name
    for task in as_completed(tasks):
        say(f"The {tasks[task]} model has learned its rows: {task.result():.0f} s")
    for name, place in places.items():
        with whole_folder(out / name) as part:
            shutil.copytree(place, part, dirs_exist_ok=True)
    shutil.rmtree(out / "tokenizer")


def model_cache() -> Path:
    """Where trained models are kept: `models` in $EXPUNGE_HOME, by default in ~/.cache/expunge."""
    return Path(os.environ.get("EXPUNGE_HOME") or Path.home() / ".cache" / "expunge") / "models"


def _clear(out: Path) -> None:
    """Make room for a new demo; refuse to touch a folder that is not an earlier one."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file. Choose another --out.")
    content = [entry for entry in out.glob("*") if not entry.name.startswith(".")]
    if content and not (out / "world" / "README.md").is_file():
        raise InputError(f"{out} has other things in it than an earlier demo. Choose another --out, or empty it.")
    for name in ("target", "retain", "runs"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / "report.html").unlink(missing_ok=True)


def _fingerprint(spec: str, tokenizer: Path, seed: int) -> str:
    """Of everything that decides a learned model's weights."""
    from expunge.data import load_records
    from expunge.models import fingerprint_code, fingerprint_json
    from expunge.worlds.new import TINY_TRAINING

    packages = ("torch", "transformers", "accelerate")
    words = (tokenizer / "tokenizer.json").read_text(encoding="utf-8")
    versions = [version(name) for name in packages]
    return fingerprint_json([load_records(spec), words, seed, TINY_TRAINING, versions, fingerprint_code(*SOURCES)])


def _prepare_worker() -> None:
    import logging as python_logging

    for chatty in ("torchao", "torch.utils._pytree"):  # they warn while they are imported
        python_logging.getLogger(chatty).setLevel(python_logging.ERROR)
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    logging.disable_progress_bar()


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Collect expunge's own warnings, once each; those of the libraries are dropped."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    ours = [str(w.message) for w in caught if Path(w.filename).is_relative_to(Path(expunge.__file__).parent)]
    notes.extend(dict.fromkeys(ours))


def _learn(spec: str, tokenizer: Path, seed: int, place: Path) -> float:
    """What `expunge finetune --init tiny --tokenizer TOKENIZER --data SPEC train.seed=SEED` does. Returns seconds."""
    from expunge.data import load_rows
    from expunge.training import finetune
    from expunge.worlds.new import TINY_TRAINING, new_tiny

    started = time.monotonic()
    rows = load_rows(spec)
    model, words = new_tiny(rows, tokenizer, seed)
    with _notes():
        finetune(model, words, rows, place, {**TINY_TRAINING, "seed": seed}, quiet=True)
    return time.monotonic() - started


def _measure(out: Path) -> None:
    """Write the target's results, and beside them the retain model's."""
    from expunge.evaluation import ComparedWith, Questions, evaluate

    results = evaluate(
        out / "target",
        Questions("tofu", out / "world", FORGET),
        compared_with=ComparedWith(retain_model=out / "retain"),
    )
    results.companions["retain"] = _attacked(results.companions["retain"], out / "retain", out)
    _attacked(results, out / "target", out).save(out / "target" / "results.json")


def _attacked(results: "Results", model: Path, out: Path) -> "Results":
    """The results with facts that come back when every second forget row is learned again: those of the others."""
    from expunge.attacks import relearn
    from expunge.data import load_rows
    from expunge.evaluation.results import RELEARNED, Measurement
    from expunge.metrics.facts import FACT_ACCURACY

    _, after = relearn(model, None, load_rows(f"{out / 'world'}:{FORGET}"), metrics=(FACT_ACCURACY,), **RELEARNING)[:2]
    words = {"label": "Facts relearned", "meaning": "facts right after relearning from the other forget rows, 30 steps"}
    return replace(
        results,
        metrics={**results.metrics, RELEARNED: Measurement(after.value, "lower", after.n, after.ci95)},
        recipe={**results.recipe, "words": {RELEARNED.partition("/")[2]: {**words, "share": True, "yes_no": True}}},
    )


def _unlearn(objective: str, out: Path, seed: int) -> tuple[float, list[str]]:
    """Make one run directory, with its results. Returns seconds, and what the trainer warned of."""
    from expunge.evaluation import ComparedWith, Questions, evaluate, load_results
    from expunge.training import Recipe, unlearn

    started = time.monotonic()
    run = out / "runs" / objective
    removes = objective == REMOVAL
    recipe = Recipe(
        model=str(out / "target"),
        forget=f"{out / 'world'}:{FORGET}",
        retain=f"{out / 'world'}:{RETAIN}",
        holdout=f"{out / 'world'}:{HOLDOUT}" if removes else None,
        objective={"name": objective, "reset": 0.7, "every": 4} if removes else objective,
        train={**(REMOVING if removes else UNLEARNING), "seed": seed},
    )
    with _notes() as notes:
        unlearn(recipe, run, quiet=True)
    measured = out / "target" / "results.json"
    results = evaluate(
        run / "model",
        Questions("tofu", out / "world", FORGET),
        compared_with=ComparedWith(retain_results=companion_path(measured, "retain")),
    )
    results = _attacked(results, run / "model", out)
    results.companions["target"] = load_results(measured)
    results.save(run / "results.json")
    return time.monotonic() - started, notes
