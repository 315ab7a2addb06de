"""One trial: a recipe is run, and after each pass over the forget rows the model is looked at.

The rate is constant after its warm-up, so that the first n passes of a longer run are a run of n passes: the best pass
of a trial can be made again, to the bit, by the same recipe with so many epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers.trainer_callback import TrainerCallback

from expunge.attacks.ask import Values, ask, no_progress
from expunge.data import PromptStyle, Row
from expunge.errors import InputError, NonFiniteLoss
from expunge.forget.judge import RETAINED, utility_loss
from expunge.forget.knowledge import METRICS, known
from expunge.forget.settings import PLAIN, relearned, reworded
from expunge.models import causal_model
from expunge.training import Recipe
from expunge.training.run import Unrecorded, trainer_of

NO_BETTER = 0.05
"""Forgotten, for the search: at most so many more rows than controls are known."""
HOPELESS = 4
"""A trial stops, when three quarters of it are done, where so many times the allowed utility is lost. It falls first
and recovers as the kept rows are gone through, so that nothing is said by the first passes."""
DEAR = 5
EVERY = 3
"""Once the rows are forgotten as asked, every so many passes it is tried whether they come back."""
NOTHING_BACK = "nothing comes back"
"""Why a trial ended that leaves nothing to want."""


@dataclass(frozen=True)
class Yardstick:
    """What every trial is measured by.

    Attributes:
        asked: Forget rows, with their controls.
        stay: Rows of which nothing may be lost: "kept", which are trained on, and "beside", which are not.
        before: What the target makes of those.
        style: How conversations are written.
        most_lost: The share of the utility that may be lost.
        recovered: Whether the kept rows are the model's own answers: then what is lost beside them tells as much.
        seed: Of the relearning attack.
    """

    asked: Sequence[Row]
    stay: Mapping[str, Sequence[Row]]
    before: Mapping[str, Values]
    style: PromptStyle
    most_lost: float
    recovered: bool
    seed: int


@dataclass
class Look:
    """The model after some passes.

    Attributes:
        epoch: How many.
        known: Share of forget rows that are known, above what chance makes of it, as asked.
        lost: Share of the utility that was lost on kept rows.
        beside: The same on rows like them that are not trained on; None without any.
        back: The same as `known` under the setting that brought most back; None where that was not tried.
        setting: That setting.
    """

    epoch: int
    known: float
    lost: float
    beside: float | None = None
    back: float | None = None
    setting: str | None = None

    def score(self, yardstick: Yardstick) -> float:
        """Lower is better: what comes back, what is lost beside, and, `DEAR` times, what is lost beyond what may be."""
        left = 1 + self.known if self.back is None else max(self.back, self.known)
        beside = max(0.0, self.beside or 0.0)
        lost = max(self.lost, beside) if yardstick.recovered else self.lost
        return left + beside + DEAR * max(0.0, lost - yardstick.most_lost)


@dataclass
class Trial:
    """What became of a trial.

    Attributes:
        looks: After each pass.
        stopped: Why it ended before its last pass.
    """

    looks: list[Look] = field(default_factory=list)
    stopped: str | None = None

    def best(self, yardstick: Yardstick) -> Look | None:
        """The best pass; the earlier one of equals."""
        return min(self.looks, key=lambda look: (look.score(yardstick), look.epoch), default=None)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


def above_chance(values: Values) -> float:
    """The share of rows that are known, less the share of controls that would be."""
    return float(np.mean(known(values)) - np.mean(np.nan_to_num(values["chance"])))


def run_trial(recipe: Recipe, yardstick: Yardstick, each_pass: bool, folder: Path) -> Trial:
    """Train as a recipe says, in a folder that is removed again, and look.

    Args:
        recipe: With as many epochs as may be needed.
        yardstick: What is measured.
        each_pass: Look after every pass, and stop when it is good or hopeless; else after the last one alone.
        folder: Where to make the temporary folder.
    """
    trial = Trial()
    with TemporaryDirectory(dir=folder, prefix="trial-") as place:
        try:
            trainer = trainer_of(recipe.resolved(), Path(place), quiet=True, kind=Unrecorded)
            trainer.add_callback(_Looking(trainer, yardstick, trial, each_pass))
            trainer.train()
        except (NonFiniteLoss, InputError) as error:
            trial.stopped = str(error)
    return trial


class _Looking(TrainerCallback):
    """Measures the model when an epoch ends."""

    def __init__(self, trainer: Any, yardstick: Yardstick, trial: Trial, each_pass: bool) -> None:
        self._trainer, self._yardstick, self._trial, self._each_pass = trainer, yardstick, trial, each_pass
        self._since: int | None = None

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        epoch, last = round(state.epoch), state.global_step >= state.max_steps
        if not last and not self._each_pass:
            return
        yard, trial = self._yardstick, self._trial
        model, words = causal_model(self._trainer.model), self._trainer.processing_class
        training = model.training
        model.eval()
        plain = ask(model, words, yard.asked, yard.style, METRICS)
        lost = {name: self._lost(model, words, name) for name in yard.before}
        look = Look(epoch, above_chance(plain), lost["kept"], lost.get("beside"))
        trial.looks.append(look)
        gone = look.known <= NO_BETTER and look.lost <= yard.most_lost
        if gone:
            self._since = epoch if self._since is None else self._since
        if (gone and (epoch - (self._since or 0)) % EVERY == 0) or (last and look.lost <= HOPELESS * yard.most_lost):
            tried = {PLAIN: plain, **_attacked(model, words, yard)}
            shares = {name: above_chance(values) for name, values in tried.items()}
            look.setting = max(shares, key=lambda name: shares[name])
            look.back = shares[look.setting]
            if gone and look.back <= NO_BETTER:
                trial.stopped, control.should_training_stop = NOTHING_BACK, True
        if look.lost > HOPELESS * yard.most_lost and 4 * state.global_step >= 3 * state.max_steps:
            trial.stopped, control.should_training_stop = "too much of what must stay is lost", True
        model.train(training)

    def _lost(self, model: Any, words: Any, name: str) -> float:
        yard = self._yardstick
        found = utility_loss(yard.before[name], ask(model, words, yard.stay[name], yard.style, RETAINED))
        return 0.0 if found is None else found[0]


def _attacked(model: Any, words: Any, yard: Yardstick) -> Mapping[str, Values]:
    found = reworded(model, words, yard.asked, yard.style, no_progress)
    if len(yard.asked) > 1:
        found |= relearned(model, words, yard.asked, yard.style, no_progress, yard.seed)
    return found
