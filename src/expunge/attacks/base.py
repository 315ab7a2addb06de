"""What an attack is: it tries to bring back what a model was made to forget, and reports numbers like a metric's."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from expunge.data import PromptStyle, Row
from expunge.metrics.bootstrap import mean_interval

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from expunge.evaluation.passes.run import Progress
    from expunge.evaluation.request import ModelLike

Role = Literal["target", "unlearned", "retain"]
ROLES: tuple[Role, ...] = ("target", "unlearned", "retain")

NONE = "none"
"""The setting without an attack: the model as it is, asked as it is. What an attack changes is counted from there."""

CHANGE = "_change"
"""Ends the name of a metric that is the paired difference to the setting `none` of the same model."""


@dataclass(frozen=True)
class AttackRow:
    """One number of one attack on one model.

    Attributes:
        attack: its name in `ATTACKS`.
        setting: how it was run, e.g. "steps=30 rate=0.001 on=forget"; "none": before the attack.
        model: which of the models.
        metric: a metric's name, or that with `_change`: the paired difference to the setting "none".
        value: mean over the rows; None where no row has one.
        ci95: 95 % interval of the value; None where there is none.
        n: rows it was measured on.
        values: the value of each row, NaN where it has none; not written to files.
    """

    attack: str
    setting: str
    model: Role
    metric: str
    value: float | None
    ci95: tuple[float, float] | None
    n: int
    values: tuple[float, ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """As it stands in attack.json."""
        return {
            "attack": self.attack,
            "setting": self.setting,
            "model": self.model,
            "metric": self.metric,
            "value": self.value,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "n": self.n,
        }


@dataclass(frozen=True)
class NotMeasured:
    """A setting of an attack (None: all of it) that does not apply to a model or its rows, and why."""

    attack: str
    setting: str | None
    model: Role
    reason: str


@dataclass(frozen=True)
class Curve:
    """A receiver operating characteristic, to be drawn on logarithmic axes."""

    attack: str
    model: Role
    metric: str
    false_positive_rate: list[float]
    true_positive_rate: list[float]


@dataclass
class Findings:
    """What an attack found on one model."""

    rows: list[AttackRow] = field(default_factory=list)
    not_measured: list[NotMeasured] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


@dataclass(frozen=True)
class AttackData:
    """The rows an attack works with; each of the last two may be empty."""

    forget: Sequence[Row]
    retain: Sequence[Row] = ()
    holdout: Sequence[Row] = ()


@dataclass
class Subject:
    """One model under attack. It is loaded when it is asked for, and left when another one must be.

    Attributes:
        role: which of the models it is.
        place: where it lies, or the loaded model itself.
        data: the rows.
        tokenizer: of a loaded model; of the others it is loaded with them.
        style: how conversations are written.
        seed: of everything random.
        quick: fewer settings, fewer samples.
        device: default: a GPU if there is one.
        progress: told (stage, done, of).
        models: all that are attacked, by role, this one among them; where an attack must look at another one too.
    """

    role: Role
    place: ModelLike
    data: AttackData
    tokenizer: PreTrainedTokenizerBase | None = None
    style: PromptStyle = field(default_factory=PromptStyle)
    seed: int = 0
    quick: bool = False
    device: str | torch.device | None = None
    progress: Progress = lambda stage, done, of: None
    models: Mapping[Role, ModelLike] = field(default_factory=dict)
    _model: PreTrainedModel | None = None

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model and its tokenizer, loaded once."""
        from expunge.errors import InputError
        from expunge.models import causal_model, load_model

        if self._model is None:
            if isinstance(self.place, str | Path):
                self._model, self.tokenizer = load_model(self.place, device=self.device)
            else:
                self._model = causal_model(self.place)
        if self.tokenizer is None:
            raise InputError(f"The {self.role} model is given loaded: its tokenizer is needed too.")
        return self._model, self.tokenizer

    def release(self) -> None:
        """Leave the model, so that another one has room."""
        self._model = None
        gc.collect()


@dataclass(frozen=True)
class Attack:
    """One row of the table of attacks.

    Attributes:
        name: on the command line and in attack.json.
        summary: what it tries, in a line.
        paper: arXiv numbers of the papers it is from.
        run: the attack on one model.
        settings: what `run` does by default, for fingerprints and documents.
        compares: whether what it finds on one model depends on the others.
    """

    name: str
    summary: str
    paper: str
    run: Callable[[Subject], Findings]
    settings: Mapping[str, Any]
    compares: bool = False


def row_of(
    attack: str, setting: str, role: Role, metric: str, values: np.ndarray, before: np.ndarray | None = None
) -> list[AttackRow]:
    """The mean of a metric's values [n] (NaN: not measured), and its paired change from those before the attack.

    Args:
        attack: its name.
        setting: how it was run.
        role: which model.
        metric: its name.
        values: of each row.
        before: of the same rows without the attack; None: no change is reported.
    """
    named = [(metric, values)] if before is None else [(metric, values), (metric + CHANGE, values - before)]
    rows = []
    for name, each in named:
        n = int(np.count_nonzero(~np.isnan(each)))
        mean = float(np.nanmean(each)) if n else None
        rows.append(AttackRow(attack, setting, role, name, mean, mean_interval(each), n, tuple(map(float, each))))
    return rows
