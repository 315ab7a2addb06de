"""One trial: a recipe is run, and the model is looked at when it has ended.

Not on the way: the rate falls to zero, and what a run at full rate has lost on kept rows it finds again as the rate
falls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.ask import Values, ask, no_progress
from expunge.data import PromptStyle, Row
from expunge.errors import InputError, NonFiniteLoss
from expunge.forget.judge import MARGIN, RETAINED, share_of, utility_loss
from expunge.forget.knowledge import METRICS, known
from expunge.forget.settings import PLAIN, relearned, reworded
from expunge.models import causal_model
from expunge.training import Recipe
from expunge.training.run import Unrecorded, trainer_of

NO_BETTER = 0.05
"""Forgotten, for the search: at most so many more rows than controls are known."""
HOPELESS = 4
"""Where so many times the allowed utility is lost, it is not tried what comes back."""
DEAR = 5
NOTHING_BACK = "nothing comes back"
"""Why no more is searched after a trial that leaves nothing to want."""


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


@dataclass(frozen=True)
class Look:
    """The model after its last step.

    Attributes:
        known: Share of forget rows that are known, above what chance makes of it, as asked.
        known_at_most: Its upper 95 % bound, which the verdict goes by.
        lost: Share of the utility that was lost on kept rows.
        beside: The same on rows like them that are not trained on; None without any.
        back: The same as `known` under the setting that brought most back; None where that was not tried.
        setting: That setting.
    """

    known: float
    known_at_most: float
    lost: float
    beside: float | None = None
    back: float | None = None
    setting: str | None = None

    def score(self, yardstick: Yardstick) -> float:
        """Lower is better: what comes back, what is lost beside, and `DEAR` times what is beyond a limit.

        The limits are what must hold: known as asked, at most the verdict's margin; lost, at most what may be.
        """
        beside = max(0.0, self.beside or 0.0)
        lost = max(self.lost, beside) if yardstick.recovered else self.lost
        beyond = max(0.0, self.known_at_most - MARGIN) + max(0.0, lost - yardstick.most_lost)
        return (1 if self.back is None else self.back) + beside + DEAR * beyond


@dataclass(frozen=True)
class Trial:
    """What became of a trial.

    Attributes:
        look: At its model; None where there is none.
        stopped: Why there is none, or why no more is searched.
    """

    look: Look | None = None
    stopped: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


def above_chance(values: Values) -> float:
    """The share of rows that are known, less the share of controls that would be."""
    return float(np.mean(known(values)) - np.mean(np.nan_to_num(values["chance"])))


def known_at_most(values: Values) -> float:
    """The upper 95 % bound of that."""
    share = share_of(known(values), np.nan_to_num(values["chance"]))
    assert share is not None  # there are rows
    return share["above_chance"][1]


def run_trial(recipe: Recipe, yardstick: Yardstick, folder: Path) -> Trial:
    """Train as a recipe says, in a folder that is removed again, and look.

    Args:
        recipe: What is tried.
        yardstick: What is measured.
        folder: Where to make the temporary folder.
    """
    with TemporaryDirectory(dir=folder, prefix="trial-") as place:
        try:
            trainer = trainer_of(recipe.resolved(), Path(place), quiet=True, kind=Unrecorded)
            trainer.train()
        except (NonFiniteLoss, InputError) as error:
            return Trial(stopped=str(error))
        look = _look(causal_model(trainer.model).eval(), trainer.processing_class, yardstick)
    nothing_back = look.back is not None and look.back <= NO_BETTER and look.lost <= yardstick.most_lost
    return Trial(look, NOTHING_BACK if nothing_back else None)


def _look(model: PreTrainedModel, words: PreTrainedTokenizerBase, yard: Yardstick) -> Look:
    plain = ask(model, words, yard.asked, yard.style, METRICS)
    lost = {}
    for name, before in yard.before.items():
        found = utility_loss(before, ask(model, words, yard.stay[name], yard.style, RETAINED))
        lost[name] = 0.0 if found is None else found[0]
    look = Look(above_chance(plain), known_at_most(plain), lost["kept"], lost.get("beside"))
    if look.lost > HOPELESS * yard.most_lost:
        return look
    tried = {PLAIN: plain, **reworded(model, words, yard.asked, yard.style, no_progress)}
    if len(yard.asked) > 1:
        tried |= relearned(model, words, yard.asked, yard.style, no_progress, yard.seed)
    shares = {name: above_chance(values) for name, values in tried.items()}
    setting = max(shares, key=lambda name: shares[name])
    return replace(look, back=shares[setting], setting=setting)
