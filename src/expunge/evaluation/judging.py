"""Outputs judged by other models: each is loaded when it is its turn, after the evaluated model has done its work."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
import torch

from expunge.data import Row
from expunge.errors import InputError
from expunge.evaluation.encoders import (
    Judge,
    cosines,
    entailments,
    labels,
    load_classifier,
    load_embedder,
    load_entailer,
    load_reward_model,
    rewards,
)
from expunge.evaluation.fluency import output_nlls
from expunge.evaluation.sets import question_of, text_of
from expunge.evaluation.suite import SetSpec, Suite
from expunge.metrics import Example, Need
from expunge.metrics.entailment import too_far
from expunge.models import check_head, fingerprint, load_model

T = TypeVar("T")
RIGHT, HALLUCINATED = "right_answer", "hallucinated_answer"


@dataclass(frozen=True)
class Later:
    """A judge that is loaded anew for each use and let go again: it may be as large as the evaluated model.

    Attributes:
        name: Hub name or folder.
        fingerprint: of its weights.
        load: to where the models run.
        label: the label asked for, of a classifier.
    """

    name: str
    fingerprint: str
    load: Callable[[], Judge]
    label: str | None = None


@dataclass(frozen=True)
class Judges:
    """The optional models that judge outputs; classifiers by the name their metrics have."""

    embedder: Judge | None = None
    entailer: Judge | None = None
    classifiers: Mapping[str, Later] = field(default_factory=dict)
    reward: Later | None = None
    fluency: Later | None = None


def open_judges(
    embedding_model: str | None,
    nli_model: str | None,
    classifiers: Mapping[str, tuple[str, str]],
    reward_model: str | None,
    fluency_model: str | None,
    device: str | torch.device | None,
) -> Judges:
    """Check every judge that was named, before anything is measured.

    Raises:
        InputError: one is not there, or is not what it is used as.
    """
    return Judges(
        load_embedder(embedding_model, device) if embedding_model else None,
        load_entailer(nli_model, device) if nli_model else None,
        {name: _later(model, load_classifier, device, label) for name, (model, label) in classifiers.items()},
        _later(reward_model, load_reward_model, device) if reward_model else None,
        _later(fluency_model, _load_causal, device) if fluency_model else None,
    )


def parse_classifiers(given: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Read `NAME=MODEL:LABEL`.

    Raises:
        InputError: not of that form, or a name twice.
    """
    found: dict[str, tuple[str, str]] = {}
    for text in given:
        name, _, rest = text.partition("=")
        model, _, label = rest.rpartition(":")
        if not (name.isidentifier() and name.islower() and model and label):
            raise InputError(
                f"--classifier {text}: write NAME=MODEL:LABEL, with a name in lower case, e.g. "
                "gibberish=madhurjindal/autonlp-Gibberish-Detector-492513457:noise."
            )
        if name in found:
            raise InputError(f"--classifier {text}: {name!r} was given twice. Name the second one otherwise.")
        found[name] = (model, label)
    return found


def judged(
    suite: Suite,
    sets: Mapping[str, Sequence[Row]],
    measured: Mapping[str, Sequence[Example]],
    judges: Judges,
    original: pa.Table | None = None,
) -> dict[str, list[Example]]:
    """Add what the judges say of each output.

    Args:
        suite: what its metrics need on a set is judged there.
        sets: rows per set name.
        measured: their examples.
        judges: those that were given.
        original: examples of the model before unlearning.
    """
    found = {name: list(examples) for name, examples in measured.items()}
    specs = [spec for spec in suite.sets if spec.name in sets]

    def answered(need: Need) -> list[Place]:
        """The rows with an output, of the sets with a metric that needs this."""
        return [
            Place(spec, i, row)
            for spec in specs
            if any(need in metric.needs for metric in suite.metrics_of(spec))
            for i, row in enumerate(sets[spec.name])
            if found[spec.name][i].generation is not None
        ]

    def output(place: Place) -> str:
        return found[place.spec.name][place.index].generation

    def put(places: Sequence[Place], name: str, values: Sequence[Any]) -> None:
        for place, value in zip(places, values, strict=True):
            here = found[place.spec.name]
            here[place.index] = replace(here[place.index], **{name: value})

    if judges.embedder:
        for need, name, text in (
            ("similarity", "similarity", lambda place: text_of(place.row, place.spec.truth)),
            ("hallucination", "right_similarity", _right),
            ("hallucination", "hallucinated_similarity", _hallucinated),
            ("original", "original_similarity", _outputs(original)),
        ):
            texts = [(place, other) for place in answered(need) if (other := text(place)) is not None]
            pairs = [(output(place), other) for place, other in texts]
            put([place for place, _ in texts], name, cosines(judges.embedder, pairs))
    if judges.entailer:
        _entail(judges.entailer, found, answered("entailment"), put)
    for name, later in judges.classifiers.items():
        places = answered("label")
        said = _in_turn(later, lambda judge, places=places: labels(judge, [output(place) for place in places]))
        known = [found[place.spec.name][place.index].labels for place in places]
        put(places, "labels", [{**before, name: label} for before, label in zip(known, said, strict=True)])
    if judges.reward and (places := answered("reward")):
        pairs = [(question_of(place.row, place.spec), output(place)) for place in places]
        put(places, "reward", _in_turn(judges.reward, lambda judge: rewards(judge, pairs)))
    if judges.fluency and (places := answered("fluency")):
        texts = [output(place) for place in places]
        said = _in_turn(judges.fluency, lambda judge: output_nlls(judge.model, judge.tokenizer, texts))
        put(places, "fluency_nll", said)
    return found


@dataclass(frozen=True)
class Place:
    """A row of a set."""

    spec: SetSpec
    index: int
    row: Row


def _entail(judge: Judge, found: Mapping[str, Sequence[Example]], places: Sequence[Place], put: Callable) -> None:
    """Ask the NLI model where the output shares enough with the reference; elsewhere the verdict is no."""
    truths = [(place, text_of(place.row, place.spec.nli_truth or place.spec.truth)) for place in places]
    comparable = [(place, found[place.spec.name][place.index], truth) for place, truth in truths if truth is not None]
    put([place for place, _, _ in comparable], "entails", [False] * len(comparable))
    asked = [(place, e.generation, truth) for place, e, truth in comparable if not too_far(e.reference, e.generation)]
    pairs = [(output, truth) if place.spec.premise == "output" else (truth, output) for place, output, truth in asked]
    put([place for place, _, _ in asked], "entails", entailments(judge, pairs))


def _right(place: Place) -> str | None:
    """The right answer, on rows that have a hallucinated one."""
    return None if _hallucinated(place) is None else text_of(place.row, RIGHT)


def _hallucinated(place: Place) -> str | None:
    """The hallucinated answer: its column, else the row's own answer where a right one stands beside it."""
    right = text_of(place.row, RIGHT)
    wrong = text_of(place.row, HALLUCINATED) or place.row.completion
    return None if right is None or wrong == right else wrong


def _outputs(original: pa.Table | None) -> Callable[[Place], str | None]:
    """What the original model said to the prompt of a row."""
    if original is None:
        return lambda place: None
    lines = original.select(["set", "index", "question", "generation"]).to_pylist()
    said = {(line["set"], line["index"], line["question"]): line["generation"] for line in lines}
    return lambda place: said.get((place.spec.name, place.index, question_of(place.row, place.spec)))


def _in_turn(later: Later, ask: Callable[[Judge], T]) -> T:
    """Load a judge, ask it, and let it go."""
    judge = later.load()
    try:
        return ask(judge)
    finally:
        del judge
        gc.collect()


def _later(name: str, load: Callable[..., Judge], device: str | torch.device | None, *label: str) -> Later:
    """Load a judge once beside the graphics memory: to see that it is one, and for its fingerprint."""
    weights = fingerprint(load(name, *label, device="cpu").model)
    return Later(name, weights, partial(load, name, *label, device=device), *label)


def _load_causal(name: str, device: str | torch.device | None) -> Judge:
    model, tokenizer = load_model(name, device=device)
    check_head(model)
    return Judge(name, model, tokenizer)
