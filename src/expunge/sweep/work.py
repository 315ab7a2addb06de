"""A worker: takes one run after the other, unlearns, measures, attacks, and writes down what came of it.

OUT/models/results.json        the target model's; beside it results.retain.json
OUT/models/attack.json         what attacks found on both
OUT/runs/<name>/               a run directory as of `expunge unlearn`, with results.json and attack.json
"""

import gc
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from expunge.attacks.base import NONE, AttackData, AttackRow, Role
from expunge.attacks.run import attack
from expunge.data import load_rows
from expunge.errors import InputError, NonFiniteLoss
from expunge.evaluation import ComparedWith, Execution, Results, evaluate, load_results
from expunge.evaluation.suites import find_suite
from expunge.evaluation.suites.sets import load_sets
from expunge.evaluation.suites.tasks import HarnessSuite
from expunge.runs import ADAPTER, ATTACK, ENVIRONMENT, MODEL, RECIPE, RESULTS, companion_path, unfinished
from expunge.sweep.cost import timed
from expunge.sweep.plan import Run, Sweep
from expunge.sweep.study import Outcome, SweepStudy
from expunge.training.evidence import changed_settings
from expunge.training.run import unlearn

MODELS, RUNS = "models", "runs"
POLL = 2.0  # seconds between two looks at what other workers are doing


def measure_models(plan: Sweep, folder: Path) -> Results:
    """Measure and attack the target and the retain model, or take what was measured before.

    Raises:
        InputError: a name, file, set or model that cannot be used.
    """
    place = folder / MODELS
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "models.lock"):
        results = evaluate(
            plan.model,
            plan.questions(),
            compared_with=ComparedWith(retain_model=plan.retain_model),
            judges=plan.judges(),
            execution=_execution(plan),
            out=place / RESULTS,
        )
        if plan.attacks:
            models: dict[Role, str] = {"target": plan.model}
            if plan.retain_model is not None:
                models["retain"] = plan.retain_model
            _attack(plan, models, plan.seeds[0], place / ATTACK)
    return results


def numbers_of(results: Results) -> dict[str, float | None]:
    """Every number of an evaluation, by name; those over sets first."""
    return {**results.summary.values, **{name: one.value for name, one in results.metrics.items()}}


def attacked_numbers(rows: list[AttackRow], role: Role) -> dict[str, float | None]:
    """What attacks found on a model, by "attack/setting/metric"; of each attack's first metric also the strongest."""
    mine = [row for row in rows if row.model == role]
    numbers: dict[str, float | None] = {}
    for name in dict.fromkeys(row.attack for row in mine):
        of = [row for row in mine if row.attack == name]
        tried = [row.value for row in of if row.metric == of[0].metric and row.setting != NONE]
        numbers[f"{name}/strongest/{of[0].metric}"] = max((v for v in tried if v is not None), default=None)
        numbers |= {f"{name}/{row.setting}/{row.metric}": row.value for row in of}
    return numbers


def work(
    plan: Sweep, runs: Mapping[str, Run], study: SweepStudy, folder: Path, ended: Callable[[Run, Outcome], None]
) -> None:
    """Take runs until none is waiting and no other worker has one that may come back.

    Args:
        plan: the sweep.
        runs: of its file, by name.
        study: where they wait.
        folder: of the sweep.
        ended: told of each run that this worker ended.

    Raises:
        InputError: another worker's file has more runs than this one's.
    """
    while True:
        taken = study.take()
        if taken is None:
            if all(study.outcomes().values()):
                return
            time.sleep(POLL)
            continue
        trial, name = taken
        if name not in runs:
            study.put_back(trial)
            raise InputError(f"A run {name} was added to the sweep's study. Start again with the file that has it.")
        run, place = runs[name], folder / RUNS / name
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_name(f".{name}.lock"), timeout=0)
        try:
            with study.alive(trial), lock:
                outcome = _outcome(plan, run, folder)
        except Timeout:  # whoever has it lives, and gave no sign for a while
            study.put_back(trial)
            time.sleep(POLL)
            continue
        except BaseException:
            study.put_back(trial)
            raise
        study.finish(trial, outcome)
        if plan.keep == "none":
            drop_weights(place)
        ended(run, outcome)


def drop_weights(place: Path) -> None:
    """Delete a run's weights; its settings and what was measured stay."""
    for name in (MODEL, ADAPTER):
        shutil.rmtree(place / name, ignore_errors=True)


def _outcome(plan: Sweep, run: Run, folder: Path) -> Outcome:
    """Do a run; what goes wrong with it alone is its outcome."""
    started, place = time.monotonic(), folder / RUNS / run.name

    def taken() -> float:
        return round(time.monotonic() - started, 3)

    try:
        with timed(bool(run.recipe.train.get("use_cpu"))) as cost:
            made = _unlearn(run, place)
        numbers = _measure(plan, run, folder) | (cost if made else {})
        return Outcome("done", "", numbers, taken())
    except NonFiniteLoss as error:
        shutil.rmtree(unfinished(place), ignore_errors=True)
        return Outcome("diverged", str(error.__cause__ or error), {}, taken())
    except InputError as error:
        return Outcome("failed", str(error), {}, taken())
    except OSError:  # a disk that is full or out of reach meets every run
        raise
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Outcome("failed", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", {}, taken())
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _unlearn(run: Run, place: Path) -> bool:
    """Make the run's model: take the one that is there, continue, or begin anew; whether all of it was done here."""
    if _is_of(run, place) and any((place / name).is_dir() for name in (MODEL, ADAPTER)):
        return False
    shutil.rmtree(place, ignore_errors=True)
    work = unfinished(place)
    if (work / ENVIRONMENT).is_file() and _is_of(run, work):
        try:
            unlearn(run.recipe, place, resume=True, quiet=True)
            return False
        except InputError:  # rows or code have changed meanwhile, or a checkpoint cannot be read
            pass
    shutil.rmtree(work, ignore_errors=True)
    unlearn(run.recipe, place, quiet=True)
    return True


def _is_of(run: Run, place: Path) -> bool:
    """Whether a folder is of this very recipe."""
    file = place / RECIPE
    return file.is_file() and not any(changed_settings(file, run.recipe.resolved()))


def _measure(plan: Sweep, run: Run, folder: Path) -> dict[str, float | None]:
    """Measure and attack the unlearned model; of the others it takes what was measured before."""
    place, models = folder / RUNS / run.name, folder / MODELS / RESULTS
    retain = companion_path(models, "retain")
    load_results(models).save(companion_path(place / RESULTS, "target"))
    results = evaluate(
        place,
        plan.questions(),
        compared_with=ComparedWith(
            retain_results=retain if plan.retain_model is not None else None, target_model=plan.model
        ),
        judges=plan.judges(),
        execution=_execution(plan),
        out=place / RESULTS,
    )
    numbers = numbers_of(results)
    if plan.attacks:
        numbers |= attacked_numbers(_attack(plan, {"unlearned": str(place)}, run.seed, place / ATTACK), "unlearned")
    return numbers


def _attack(plan: Sweep, models: dict[Role, str], seed: int, out: Path) -> list[AttackRow]:
    """Attack models with the rows that they were measured on."""
    questions = plan.questions()
    suite = find_suite(questions.suite)
    sets = {} if isinstance(suite, HarnessSuite) else load_sets(questions, suite).sets
    data = AttackData(
        sets.get("forget") or load_rows(plan.forget),
        load_rows(plan.retain) if plan.retain else (),
        sets.get("holdout") or (load_rows(plan.holdout) if plan.holdout else ()),
    )
    style, device = questions.style_for(plan.model), _execution(plan).device
    found = attack(
        models, data, plan.attacks, style=style, seed=seed, quick=plan.quick, device=device and str(device), out=out
    )
    return found.rows


def _execution(plan: Sweep) -> Execution:
    """On the CPU where the training is."""
    device = "cpu" if plan.train.get("use_cpu") else None
    return Execution(plan.batch_tokens, device, precision=plan.precision)
