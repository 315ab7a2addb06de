"""What was asked for, and where the work on it lies."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.data import PromptStyle, Row, load_rows
from expunge.errors import InputError
from expunge.files import write_json
from expunge.models import fingerprint_rows, kept_style, resolve_folder
from expunge.runs import BUILT, FLOW, unfinished
from expunge.training.recipe import objective_of

REQUEST = "request.json"
FINISHED = "finished.json"


@dataclass(frozen=True)
class ForgetRequest:
    """What a model must forget, and how far to go for it.

    Attributes:
        model: The target: a folder, a run, an adapter or a Hub name.
        forget: SPEC of question and answer rows.
        retain: SPEC of rows that must stay; None: they are recovered from the model.
        base: The model that the target was fine-tuned from.
        holdout: SPEC of rows that the model never saw; None: they are made up.
        objectives: To choose from; none: those that fit.
        trials: Of the search, at most.
        minutes: No trial begins after so many; None: no limit.
        max_utility_loss: The share of the utility that may be lost.
        adapter: Train an adapter, or all weights; None: by size.
        seed: Of everything random.
        template, system, date: How conversations are written; see `PromptStyle`.
    """

    model: str
    forget: str
    retain: str | None = None
    base: str | None = None
    holdout: str | None = None
    objectives: tuple[str, ...] = ()
    trials: int = 8
    minutes: float | None = None
    max_utility_loss: float = 0.02
    adapter: bool | None = None
    seed: int = 0
    template: str | None = None
    system: str | None = None
    date: str | None = None

    def style(self) -> PromptStyle:
        """How conversations are written."""
        return (kept_style(self.model) or PromptStyle()).updated(self.template, self.system, self.date)

    def rows(self) -> tuple[list[Row], list[Row], list[Row]]:
        """Forget, retain and holdout rows.

        Raises:
            InputError: They cannot be used; see `check_rows`.
        """
        forget = load_rows(self.forget)
        retain, holdout = ([] if spec is None else load_rows(spec) for spec in (self.retain, self.holdout))
        check_rows(forget, retain, holdout)
        if shown := [number for number, row in enumerate(forget) if any(turn.pictures for turn in row.turns)]:
            raise InputError(
                f"--forget: row {shown[0]} has a picture; `expunge forget` reads text alone. Use `expunge unlearn` and "
                "`expunge eval`."
            )
        return forget, retain, holdout


def check_rows(forget: Sequence[Row], retain: Sequence[Row], holdout: Sequence[Row]) -> None:
    """Refuse rows that cannot be judged one by one, against rows that must stay or were never seen.

    Raises:
        InputError: There are none to forget, some ask nothing, or one is there twice.
    """
    if not forget:
        raise InputError("--forget: there are no rows.")
    places: dict[Any, int] = {}
    for number, row in enumerate(forget):
        if not row.turns:
            raise InputError(
                f"--forget: row {number} is plain text; rows are judged by question and answer. Write passages as "
                "questions, or use `expunge unlearn` with train.text_prompt."
            )
        if (first := places.setdefault(row.key, number)) != number:
            raise InputError(
                f"--forget: row {number} is row {first} again, and a row counts once. Leave one of them out."
            )
    for name, rows in (("--retain", retain), ("--holdout", holdout)):
        if both := [number for number, row in enumerate(rows) if row.key in places]:
            raise InputError(f"{name}: row {both[0]} is a forget row too. Leave it out of one of the two.")


@dataclass(frozen=True)
class Place:
    """Where a request's work lies: in `<out>.unfinished` until settings are chosen, then in `out`."""

    out: Path

    @property
    def work(self) -> Path:
        """The folder that is there, or will be made."""
        return self.out if self.out.exists() else unfinished(self.out)

    @property
    def flow(self) -> Path:
        """Numbers of each stage."""
        return self.work / FLOW

    @property
    def built(self) -> Path:
        """Rows and answers: everything with texts."""
        return self.work / BUILT

    @property
    def finished(self) -> bool:
        """Whether the last stage is done."""
        return (self.flow / FINISHED).is_file()


def begin(request: ForgetRequest, rows: Sequence[Sequence[Row]], place: Place, resume: bool) -> None:
    """Note what was asked for, or see that it is the same.

    Raises:
        InputError: Something else lies there, the request differs from the one that was begun, or names a model or an
            objective that does not exist.
    """
    file = place.flow / REQUEST
    if place.out.exists() and not file.is_file():
        raise InputError(f"{place.out} already exists. Choose another --out, or remove it first.")
    if place.finished:
        raise InputError(f"{place.out} is finished. Choose another --out, or remove it first.")
    asked = {**asdict(request), "objectives": list(request.objectives), "rows": [fingerprint_rows(r) for r in rows]}
    asked["folder"] = resolve_folder(request.model)
    if request.base is not None:
        resolve_folder(request.base)
    for name in request.objectives:
        objective_of(name, {})
    if not file.is_file():
        write_json(file, asked)
        return
    if not resume:
        raise InputError(
            f"{place.work} holds unfinished work on a request. Continue it with --resume, or delete it with expunge "
            f"purge {place.out}."
        )
    begun = json.loads(file.read_text(encoding="utf-8"))
    if changed := [key for key in asked if begun.get(key) != asked[key]]:
        raise InputError(f"{place.work} was begun with other settings: {', '.join(changed)}. Give the same ones.")


def resumable(out: Path) -> ForgetRequest:
    """The request of unfinished work.

    Raises:
        InputError: There is none.
    """
    file = Place(out).flow / REQUEST
    if not file.is_file():
        raise InputError(f"{out}: there is no unfinished request to resume.")
    begun: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    values: dict[str, Any] = {name: begun[name] for name in ForgetRequest.__dataclass_fields__}
    values["objectives"] = tuple(values["objectives"])
    return ForgetRequest(**values)
