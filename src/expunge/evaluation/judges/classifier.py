"""Sequence classifiers: which outputs carry a label, by the name that the user gave each classifier.

A moderator is a classifier that reads prompt and output as a pair of texts; others read the output alone.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from expunge.errors import InputError
from expunge.evaluation.judges.base import Device, InTurn, Judge, Outputs, in_turn
from expunge.evaluation.judges.texts import TextModel, classify, load_classifier
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.suites.columns import question_of
from expunge.metrics import Label


class Classifiers(Judge):
    """Fills in the labels of each classifier."""

    setting = "classifiers"

    def __init__(self, classifiers: Mapping[str, tuple[InTurn, str]], moderators: Collection[str]) -> None:
        self._classifiers, self._moderators = classifiers, moderators

    @classmethod
    def opened(cls, models: JudgeModels, device: Device) -> "Classifiers | None":
        named = models.classifiers
        found = {n: (in_turn(model, load_classifier, device, label), label) for n, (model, label) in named.items()}
        return cls(found, models.moderators) if found else None

    def identity(self) -> Any:
        return {
            name: {"name": model.name, "fingerprint": model.fingerprint, "label": label}
            | ({"reads": "prompt and output"} if name in self._moderators else {})
            for name, (model, label) in self._classifiers.items()
        }

    def judge(self, outputs: Outputs) -> None:
        for name, (model, _) in self._classifiers.items():
            places = outputs.needing("label")
            texts: list[tuple[str, ...]] = [(outputs.text(place),) for place in places]
            if name in self._moderators:
                texts = [(question_of(place.row, place.spec), *text) for place, text in zip(places, texts, strict=True)]
            said = model.ask(lambda classifier, texts=texts: labels(classifier, texts))
            known = [outputs.example(place).labels for place in places]
            found = [{**before, name: label} for before, label in zip(known, said, strict=True)]
            outputs.put(places, "labels", found)


def labels(classifier: TextModel, texts: Sequence[tuple[str, ...]]) -> list[Label]:
    """What a classifier says of each output, alone or after its prompt; an empty one carries no label.

    Labels that exclude each other share a softmax, and a text carries its most likely one; others (`problem_type` is
    multi_label_classification, or there is one output) have a sigmoid each, and are carried from 0.5 on.
    """
    asked = [text for text in texts if text[-1].strip()]
    config = classifier.model.config
    apart = config.problem_type == "multi_label_classification" or config.num_labels == 1
    found: dict[tuple[str, ...], Label] = {}
    for text, logits in zip(asked, classify(classifier, asked), strict=True):
        share = float((logits.sigmoid() if apart else logits.softmax(-1))[classifier.yes])
        found[text] = Label(share, share >= 0.5 if apart else bool(logits.argmax() == classifier.yes))
    return [found.get(text, Label(0.0, False)) for text in texts]


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
