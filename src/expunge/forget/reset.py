"""Choosing RESET's `reset` without a retain model: by forgetting retain rows on trial, and attacking the result.

Some retain rows are treated as if they were to be forgotten (a pseudo-request), RESET runs without them, and relearning
tries to bring them back, as it would the forget set. The yardstick is the holdout rows under the same attack on the
same model: what comes back of rows that were never learned is no knowledge. Neither the forget set, which no trial
looks at, nor a retain model is asked.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expunge.attacks.ask import ask
from expunge.attacks.relearn import relearn
from expunge.data import Row, load_rows
from expunge.errors import InputError
from expunge.files import write_json
from expunge.forget.build import spread
from expunge.forget.pseudo import pseudo_request
from expunge.metrics import Metric
from expunge.metrics.memorization import EXACT_MEMORIZATION
from expunge.metrics.probability import PROBABILITY
from expunge.models import (
    causal_model,
    fingerprint,
    fingerprint_code,
    fingerprint_json,
    fingerprint_rows,
    load_model,
)
from expunge.runs import CHOICE, RECIPE, unfinished
from expunge.training import Recipe, read_recipe
from expunge.training.run import Unrecorded, places, trainer_of
from expunge.training.steps.reset import reset_term

CANDIDATES = (0.3, 0.5, 0.7, 0.9)
MARGIN = 0.05  # of exact memorisation, from 0 to 1: so much better known than the holdout rows is no better
STEPS, RATE = (30, 100), 1e-3  # of the attack
LEAST_ROWS = 4  # two to relearn from, two to measure
FEW_ROWS = 20  # a request of fewer is tried with so many, where the retain set has them
LARGEST_SHARE = 4  # at most a quarter of the retain set is forgotten on trial
KEPT_ROWS = 100
LITTLE = 0.9
TRIAL = "trial"
RULE = (
    "the smallest reset for which, after relearning on every second pseudo-forgotten row, the others' exact "
    f"memorisation is at most {MARGIN} above that of holdout rows after the same attack, {STEPS[0]} and {STEPS[1]} "
    f"steps at {RATE:g}; found by bisection; if there is none, the one that comes nearest"
)


@dataclass(frozen=True)
class Budget:
    """How much may be spent on choosing: no trial is begun beyond either.

    Attributes:
        trials: Each is a run, with its own settings, and two attacks.
        minutes: Of those before, and the longest of them once more.
    """

    trials: int = 3
    minutes: float | None = None


@dataclass(frozen=True)
class PseudoRun:
    """What became of a pseudo-request.

    Attributes:
        reset: As it was tried.
        relearned: Exact memorisation, by steps of the attack, of pseudo-forgotten rows it did not train on.
        controls: The same of holdout rows.
        before: The same of those pseudo-forgotten rows in the target, without an attack.
        excess: The largest difference of `relearned` and `controls`.
        kept: Mean probability of other retain rows, over what it was before.
        seconds: What it took.
    """

    reset: float
    relearned: dict[str, float]
    controls: dict[str, float]
    before: float
    excess: float
    kept: float
    seconds: float

    @property
    def passed(self) -> bool:
        return self.excess <= MARGIN


def with_reset(
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    quiet: bool = False,
    budget: Budget = Budget(),
    say: Callable[[str], None] = print,
) -> Recipe:
    """The recipe with `objective.reset`: as it is, if it says; as the unfinished run in `out` has it; or chosen.

    Trials that were finished before a kill are not done again.

    Args:
        recipe: What is to be run; of RESET, or not.
        out: The run directory to make; its unfinished folder keeps the trials, and the run's record gets them.
        resume: Continue an unfinished run.
        quiet: No progress bars.
        budget: How much may be spent.
        say: Is told what is tried, and what was chosen and why.

    Raises:
        InputError: The sets have too few rows, or the run cannot be done; before the first trial.
    """
    term = reset_term(recipe.build_objective())
    if term is None or term.reset is not None or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return recipe
    work = unfinished(Path(out))
    if (work / RECIPE).is_file():
        begun = reset_term(read_recipe(work / RECIPE, {}).build_objective())
        return recipe if begun is None or begun.reset is None else _given(recipe, begun.reset)
    with places(recipe, Path(out), resume):
        chosen = _choose(recipe.resolved(), work, quiet, budget, say)
    return _given(recipe, chosen)


def _choose(recipe: Recipe, work: Path, quiet: bool, budget: Budget, say: Callable[[str], None]) -> float:
    sets = _Sets(recipe)
    record: dict[str, Any] = {
        "of": sets.fingerprint(recipe),
        "rule": RULE,
        "seed": sets.seed,
        "rows": {"pseudo_forgotten": len(sets.forget), "controls": len(sets.controls), "kept": len(sets.kept)},
    }
    file, trials = work / CHOICE, dict[float, PseudoRun]()
    if file.is_file() and (before := json.loads(file.read_text(encoding="utf-8")))["of"] == record["of"]:
        trials = {one["reset"]: PseudoRun(**one) for one in before["trials"]}
    say(
        f"Choosing objective.reset with {len(sets.forget)} retain rows that are forgotten on trial: up to "
        f"{budget.trials} trials, each as long as the run (--trials, --minutes; objective.reset=0.7 in their place)."
    )
    while (reset := _next(trials)) is not None and _affordable(trials, budget):
        trials[reset] = one = _tried(recipe, reset, sets, work / TRIAL, quiet)
        write_json(file, record | {"trials": [asdict(trial) for trial in trials.values()]})
        say(f"  {_in_words(one)}")
    if not trials:
        raise InputError("--trials 0: nothing can be chosen without a trial; give objective.reset, e.g. 0.7.")
    chosen, why = _best(trials)
    say(f"Chose objective.reset={chosen.reset:g}: {why}")
    found = {"reset": chosen.reset, "why": why, "trials": [asdict(trial) for trial in trials.values()]}
    write_json(file, record | found)
    return chosen.reset


def _next(trials: dict[float, PseudoRun]) -> float | None:
    """The candidate to try, by bisection: less is enough below one that passed, more is needed above one that did not.

    None when the smallest that passes is known.
    """
    enough = min((reset for reset, one in trials.items() if one.passed), default=float("inf"))
    little = max((reset for reset, one in trials.items() if not one.passed), default=0.0)
    between = [reset for reset in CANDIDATES if little < reset < enough]
    return between[len(between) // 2] if between else None


def _affordable(trials: dict[float, PseudoRun], budget: Budget) -> bool:
    spent = [one.seconds for one in trials.values()]
    in_time = budget.minutes is None or not spent or sum(spent) + max(spent) <= 60 * budget.minutes
    return len(trials) < budget.trials and in_time


def _best(trials: dict[float, PseudoRun]) -> tuple[PseudoRun, str]:
    """The trial that the rule chooses, and why."""
    passed = [one for one in trials.values() if one.passed]
    best = min(passed, key=lambda one: one.reset) if passed else min(trials.values(), key=lambda one: one.excess)
    why = "the smallest of those tried for which relearning brings back no more than of rows never seen."
    if not passed:
        why = f"none that was tried comes within {MARGIN} of rows never seen, and this is the nearest."
    if best.before - max(best.controls.values()) <= MARGIN:
        why += " It says little: the model knew the pseudo-forgotten rows hardly better than rows never seen."
    if best.kept < LITTLE:
        why += f" It keeps {best.kept:.2f} of the retain rows' probability: more train.num_train_epochs keep more."
    return best, why


def _in_words(one: PseudoRun) -> str:
    steps = " and ".join(one.relearned)
    found, controls = (" and ".join(f"{v:.2f}" for v in each.values()) for each in (one.relearned, one.controls))
    return (
        f"reset={one.reset:g}: {found} comes back in {steps} steps, of rows never seen {controls}; "
        f"{one.kept:.2f} kept; {one.seconds:.0f} s"
    )


class _Sets:
    """The rows of the trials.

    Attributes:
        forget: The pseudo-request, as large as the forget set.
        retain: The other retain rows.
        kept: Those whose probability is measured.
        controls: Holdout rows, as many as the pseudo-request where there are so many.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.seed = int(recipe.train["seed"])
        asked = load_rows(recipe.forget)
        retain = load_rows(recipe.retain) if recipe.retain else []
        self.holdout = load_rows(recipe.holdout) if recipe.holdout else []
        size = min(max(len(asked), FEW_ROWS), len(retain) // LARGEST_SHARE)
        if size < LEAST_ROWS or len(self.holdout) < LEAST_ROWS:
            raise InputError(
                f"objective.reset is not given, and choosing it requires {LEAST_ROWS * LARGEST_SHARE} retain rows and "
                f"{LEAST_ROWS} of --holdout; there are {len(retain)} and {len(self.holdout)}. Or give it, e.g. "
                "objective.reset=0.7."
            )
        lengths = [len(row.completion) for row in asked]
        places = pseudo_request(retain, size, (min(lengths), max(lengths)), self.seed)
        self.forget = [retain[i] for i in places]
        self.retain = [row for i, row in enumerate(retain) if i not in set(places)]
        self.kept = spread(self.retain, KEPT_ROWS)
        self.controls = self.holdout[:size]

    def fingerprint(self, recipe: Recipe) -> str:
        """Of all that the trials depend on, but for the weights of an anchor."""
        rows = [fingerprint_rows(each) for each in (self.forget, self.retain, self.holdout)]
        target, _ = load_model(recipe.model, device="cpu", trust_remote_code=recipe.trust_remote_code)
        code = fingerprint_code("attacks", "forget", "models", "objectives", "training")
        return fingerprint_json([recipe.model_dump(), rows, fingerprint(target), code])


def _tried(recipe: Recipe, reset: float, sets: _Sets, folder: Path, quiet: bool) -> PseudoRun:
    began = time.monotonic()
    settings = recipe.model_copy(update={"train": {**recipe.train, "save_strategy": "no"}})
    trainer = trainer_of(_given(settings, reset), folder, quiet, (sets.forget, sets.retain), Unrecorded)
    words, style = trainer.processing_class, trainer.style

    def mean(rows: Sequence[Row], metric: Metric) -> float:
        return _mean(ask(causal_model(trainer.model), words, rows, style, (metric,))[metric.name])

    def attacked(rows: Sequence[Row]) -> dict[str, float]:
        found = relearn(
            causal_model(trainer.model),
            words,
            rows,
            steps=STEPS,
            rates=(RATE,),
            seed=sets.seed,
            style=style,
            metrics=(EXACT_MEMORIZATION,),
        )
        after = [row for row in found if row.metric == EXACT_MEMORIZATION.name and row.setting.startswith("steps=")]
        return {str(steps): _mean(row.values) for steps, row in zip(STEPS, after, strict=True)}

    before, known = mean(sets.kept, PROBABILITY), mean(sets.forget[1::2], EXACT_MEMORIZATION)
    trainer.train()
    relearned, controls = attacked(sets.forget), attacked(sets.controls)
    excess = max(relearned[steps] - controls[steps] for steps in relearned)
    kept = mean(sets.kept, PROBABILITY) / before
    shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    return PseudoRun(reset, relearned, controls, known, round(excess, 4), round(kept, 4), seconds)


def _mean(values: Any) -> float:
    return round(float(np.nanmean(np.asarray(values, float))), 4)


def _given(recipe: Recipe, reset: float) -> Recipe:
    """The recipe with this `reset`."""
    held = {"name": recipe.objective} if isinstance(recipe.objective, str) else recipe.objective
    kept = {key: value for key, value in held.items() if key.rpartition(".")[2] != "reset"}
    return recipe.model_copy(update={"objective": {**kept, "reset": reset}})
