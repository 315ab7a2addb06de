"""What a judge of outputs is, and the outputs it is shown."""

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar

import pyarrow as pa
import torch

from expunge.data import Row
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.suites.columns import question_of
from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics import Example, Need

T = TypeVar("T")
Device = str | torch.device | None
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Place:
    """A row of a set."""

    spec: SetSpec
    index: int
    row: Row


class Outputs:
    """The outputs of a model on every set, and what judges have said of them so far.

    Args:
        suite: what its metrics need on a set is judged there.
        sets: rows per set name.
        examples: theirs, with the outputs.
        original: examples of the model before unlearning.
    """

    def __init__(
        self,
        suite: Suite,
        sets: Mapping[str, Sequence[Row]],
        examples: Mapping[str, Sequence[Example]],
        original: pa.Table | None = None,
    ) -> None:
        self.examples = {name: list(found) for name, found in examples.items()}
        self._suite, self._sets, self._original = suite, sets, original

    def needing(self, need: Need) -> list[Place]:
        """The rows with an output, of the sets with a metric that needs this."""
        return [
            Place(spec, i, row)
            for spec in self._suite.sets
            if spec.name in self._sets and any(need in metric.needs for metric in self._suite.metrics_of(spec))
            for i, row in enumerate(self._sets[spec.name])
            if self.example(Place(spec, i, row)).generation is not None
        ]

    def example(self, place: Place) -> Example:
        """What is known of a row."""
        return self.examples[place.spec.name][place.index]

    def text(self, place: Place) -> str:
        """The output."""
        return self.example(place).generation or ""

    def original_text(self, place: Place) -> str | None:
        """What the model before unlearning said to the same prompt; None where that is not known."""
        return self._originals.get((place.spec.name, place.index, question_of(place.row, place.spec)))

    @property
    def _originals(self) -> dict[tuple[str, int, str], str]:
        if not hasattr(self, "_said"):
            columns = ["set", "index", "question", "generation"]
            lines = [] if self._original is None else self._original.select(columns).to_pylist()
            self._said = {(line["set"], line["index"], line["question"]): line["generation"] for line in lines}
        return self._said

    def put(self, places: Sequence[Place], name: str, values: Sequence[Any]) -> None:
        """Write down a field of the examples of some rows."""
        for place, value in zip(places, values, strict=True):
            here = self.examples[place.spec.name]
            here[place.index] = replace(here[place.index], **{name: value})


class Judge(ABC):
    """A kind of judge.

    Attributes:
        setting: the field of `JudgeModels` that names its model, and its key in results.json.
    """

    setting: ClassVar[str]

    @classmethod
    @abstractmethod
    def opened(cls, models: JudgeModels, device: Device) -> "Judge | None":
        """The judge with the models that were given for it; None without one.

        Raises:
            InputError: a model is not there, or is not what it is used as.
        """

    @abstractmethod
    def identity(self) -> Any:
        """What the numbers depend on: names and fingerprints of its models."""

    @abstractmethod
    def judge(self, outputs: Outputs) -> None:
        """Say something of every output that a metric needs it of."""


@dataclass(frozen=True)
class InTurn:
    """A model that is loaded anew for each use: it may be as large as the evaluated one.

    Attributes:
        name: Hub name or folder.
        fingerprint: of its weights, configuration and tokenizer.
        load: to where the models run.
    """

    name: str
    fingerprint: str
    load: Callable[[], Any]

    def ask(self, question: Callable[[Any], T]) -> T:
        """Load the model, ask it, and free its memory."""
        model = self.load()
        try:
            return question(model)
        finally:
            del model
            gc.collect()


def in_turn(name: str, load: Callable[..., Any], device: Device, *arguments: str) -> InTurn:
    """Load a model once on the CPU, to see that it is one and for its fingerprint; later where the models run."""
    identity = load(name, *arguments, device="cpu").fingerprint
    return InTurn(name, identity, partial(load, name, *arguments, device=device))
