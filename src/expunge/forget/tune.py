"""The search for settings that fit: a budgeted study over objective, rate and weight, each trial judged on the rows.

The study is Optuna's, kept in SQLite, so that a killed search goes on where it was: a trial that was under way is run
again with its own settings. The sampler is seeded anew for each trial, by its number: a search that was killed ends as
one that was not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from expunge.errors import InputError
from expunge.forget.trial import NOTHING_BACK, Look, Trial, Yardstick, run_trial
from expunge.training import Recipe

STUDY = "study.db"
SUPPRESSING = ("NPO", "ME")
REMOVING = "RESET"
PASSES = 15
"""Over the forget rows; where more rows are kept, they are gone through in passes of their own (train.forget_every)."""
PASSES_EACH = 2
"""Over the forget rows, in one over the kept rows."""
REFERENCE_RATE, REFERENCE_SIZE = 1e-5, 7e9
"""Published for 7-8 billion parameters. Smaller models need larger rates: about the power below, from 1e6 up."""
POWER = 0.38
ADAPTER_FACTOR = 10.0
AROUND = 2.0
"""The search goes from a rate so many times smaller to one so many times larger."""
WEIGHTS = (0.05, 1.0)
FIRST_WEIGHTS = {"ME": 0.1, "NPO": 0.3}
PATIENCE = 2
"""Each objective tried once, the search ends after so many trials of which none was better than those before."""
RESETS = (0.5, 0.7, 0.85)
FALLING = {"lr_scheduler_type": "linear", "warmup_steps": 5, "save_strategy": "no"}
RESET_STEPS, RESET_FACTOR = 400, 7.0
"""At least so many, at a rate so many times as large: the kept rows are learned again from far away."""
LEAST_RESET_PASSES = {"fresh": 10, "anchor": 5}
"""From fresh weights all is learned again; towards a base, little."""
BATCH_ROWS = 8


@dataclass(frozen=True)
class Choice:
    """What the search ends with.

    Attributes:
        recipe: To be run for the model that ships.
        number: Of the trial it is from.
        look: What that trial saw.
        within: Whether no more utility was lost than may be.
    """

    recipe: Recipe
    number: int
    look: Look
    within: bool


@dataclass(frozen=True)
class Search:
    """What is searched, and for how long.

    Attributes:
        recipe: Model, rows, adapter, prompt style: what all trials share.
        objectives: Names to choose from.
        sizes: How many forget and kept rows there are.
        parameters: Of the model.
        trials: At most so many.
        minutes: No trial begins after so many; None: no such limit.
        seed: Of sampler, training and attacks.
    """

    recipe: Recipe
    objectives: Sequence[str]
    sizes: tuple[int, int]
    parameters: int
    trials: int
    minutes: float | None
    seed: int

    def passes(self) -> dict[str, int]:
        """How often the rows are gone through, as `train` options."""
        forget, kept = self.sizes
        if kept <= forget * PASSES_EACH:
            return {"num_train_epochs": PASSES}
        every = kept // (forget * PASSES_EACH)
        return {"forget_every": every, "num_train_epochs": -(-PASSES * forget * every // kept)}

    def rate(self) -> float:
        """Where the search for a learning rate begins."""
        size = min(max(self.parameters, 1e6), REFERENCE_SIZE)
        return REFERENCE_RATE * (REFERENCE_SIZE / size) ** POWER * (ADAPTER_FACTOR if self.recipe.lora else 1.0)


def search(plan: Search, yardstick: Yardstick, folder: Path, say: Callable[[str], None]) -> Choice:
    """Run trials until one leaves nothing to come back at an allowed price, or the budget is spent.

    Args:
        plan: What is searched.
        yardstick: What trials are judged by.
        folder: Where the study is kept.
        say: Told a line for each trial.

    Raises:
        InputError: No trial could be measured; with the reason of the last one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(storage=f"sqlite:///{folder / STUDY}", study_name="expunge", load_if_exists=True)
    if not study.get_trials():
        for name in plan.objectives:
            study.enqueue_trial(_first(plan, name))
    while (trial := _next(study, plan)) is not None:
        recipe = _recipe(plan, trial)
        began = time.monotonic()
        found = run_trial(recipe, yardstick, folder)
        trial.set_user_attr("seconds", time.monotonic() - began)
        trial.set_user_attr("found", found.to_json())
        study.tell(trial, None if found.look is None else found.look.score(yardstick), _state(found.look))
        say(_line(trial, found))
    return _choice(study, plan, yardstick)


def _next(study: optuna.Study, plan: Search) -> optuna.Trial | None:
    """A trial that was cut off, else a new one; None when the budget is spent, or there is nothing left to want."""
    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state.is_finished()]
    if any(trial.user_attrs.get("found", {}).get("stopped") == NOTHING_BACK for trial in done):
        return None
    if begun := [trial for trial in trials if trial.state == TrialState.RUNNING]:
        return optuna.Trial(study, begun[0]._trial_id)
    spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in done)
    best = min((trial.value for trial in done if trial.value is not None), default=None)
    at = next((at for at, trial in enumerate(done) if trial.value == best), 0)
    if len(done) - 1 - max(at, len(plan.objectives) - 1) >= PATIENCE:
        return None
    if len(done) >= plan.trials or (done and plan.minutes is not None and spent >= 60 * plan.minutes):
        return None
    study.sampler = optuna.samplers.TPESampler(seed=plan.seed + len(done), n_startup_trials=len(plan.objectives) + 2)
    return study.ask()


def _first(plan: Search, name: str) -> dict[str, Any]:
    """Where the search begins for an objective."""
    if name == REMOVING:
        return {"objective": name, "reset": RESETS[1]}
    return {"objective": name, "rate": plan.rate(), "weight": FIRST_WEIGHTS.get(name.partition("+")[0], 0.5)}


def _recipe(plan: Search, trial: optuna.Trial) -> Recipe:
    """The recipe of a trial, its settings drawn here."""
    name = trial.suggest_categorical("objective", list(plan.objectives))
    shared = {"per_device_train_batch_size": BATCH_ROWS, "gradient_accumulation_steps": 1, "seed": plan.seed}
    if name == REMOVING:
        reset = trial.suggest_categorical("reset", RESETS)
        objective = {"name": name, "reset": reset, **({"every": 4} if plan.recipe.anchor else {})}
        least = LEAST_RESET_PASSES["anchor" if plan.recipe.anchor else "fresh"]
        passes = max(least, -(-RESET_STEPS * BATCH_ROWS // plan.sizes[1]))
        schedule = {"lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 5, "save_strategy": "no"}
        train = {**shared, **schedule, "learning_rate": RESET_FACTOR * plan.rate(), "num_train_epochs": passes}
        return plan.recipe.model_copy(update={"objective": objective, "train": train})
    rate = trial.suggest_float("rate", plan.rate() / AROUND, plan.rate() * AROUND, log=True)
    weight = trial.suggest_float("weight", *WEIGHTS, log=True)
    objective = {"name": name, f"{name.partition('+')[0]}.weight": weight}
    train = {**shared, **FALLING, "learning_rate": rate, **plan.passes()}
    without = {"anchor": None, "holdout": None}
    return plan.recipe.model_copy(update={"objective": objective, "train": train, **without})


def _state(look: Look | None) -> TrialState:
    return TrialState.FAIL if look is None else TrialState.COMPLETE


def _line(trial: optuna.Trial, found: Trial) -> str:
    words = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in trial.params.items())
    look = found.look
    if look is None:
        return f"trial {trial.number} ({words}): failed, {found.stopped}"
    back = "" if look.back is None else f", {max(0.0, look.back):.0%} under attack"
    known, lost = (max(0.0, share) for share in (look.known, look.lost))
    return f"trial {trial.number} ({words}): {known:.0%} known{back}, utility lost {lost:.1%}"


def _choice(study: optuna.Study, plan: Search, yardstick: Yardstick) -> Choice:
    done = [trial for trial in study.get_trials() if trial.state == TrialState.COMPLETE]
    if not done:
        last = study.get_trials()[-1].user_attrs.get("found", {}).get("stopped")
        raise InputError(f"No setting could be tried to its end; the last one: {last}")
    best = min(done, key=lambda trial: (trial.value, trial.number))
    look = Look(**best.user_attrs["found"]["look"])
    recipe = _recipe(plan, optuna.Trial(study, best._trial_id))
    train = {name: value for name, value in recipe.train.items() if name != "save_strategy"}
    recipe = recipe.model_copy(update={"train": train})
    return Choice(recipe, best.number, look, look.lost <= yardstick.most_lost)


def record(study_folder: Path, choice: Choice, plan: Search, yardstick: Yardstick) -> dict[str, Any]:
    """The search as it is filed: every trial with what it saw, and the one that was chosen."""
    study = optuna.load_study(storage=f"sqlite:///{study_folder / STUDY}", study_name="expunge")
    trials = [{"number": trial.number, "params": trial.params, **trial.user_attrs} for trial in study.get_trials()]
    return {
        "trials": trials,
        "chosen": {"trial": choice.number, "within": choice.within, **asdict(choice.look)},
        "budget": {"trials": plan.trials, "minutes": plan.minutes, "max_utility_loss": yardstick.most_lost},
        "seed": plan.seed,
    }


def objectives_for(named: Sequence[str], removal: bool, recovered: bool) -> list[str]:
    """The objectives to choose from: those named, else removal where it is possible, and suppression.

    Rows that were given are to be learned (GD). Of rows that the model made, its own predictions are to be kept (KL):
    that holds it in place where it only guesses, too.

    Raises:
        InputError: Removal was named and is not possible.
    """
    if REMOVING in named and not removal:
        raise InputError(
            f"{REMOVING} needs rows to learn again: give --retain, and --base where the model was pretrained."
        )
    keep = "KL" if recovered else "GD"
    return list(named) or [*([REMOVING] if removal else []), *(f"{name}+{keep}" for name in SUPPRESSING)]
