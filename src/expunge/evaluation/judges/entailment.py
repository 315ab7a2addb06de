"""Natural language inference: does the output entail the truth, or the truth the output?"""

from typing import Any

from expunge.evaluation.judges.base import Device, Judge, Outputs
from expunge.evaluation.judges.texts import TextModel, classify, load_entailer
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.suites.columns import text_of
from expunge.metrics.entailment import too_far


class Entailment(Judge):
    """Asks the NLI model where the output shares enough with the reference; elsewhere the answer is no."""

    setting = "nli_model"

    def __init__(self, entailer: TextModel) -> None:
        self._entailer = entailer

    @classmethod
    def opened(cls, models: JudgeModels, device: Device) -> "Entailment | None":
        return cls(load_entailer(models.nli_model, device)) if models.nli_model else None

    def identity(self) -> Any:
        return {"name": self._entailer.name, "fingerprint": self._entailer.fingerprint}

    def judge(self, outputs: Outputs) -> None:
        truths = [
            (place, text_of(place.row, place.spec.nli_truth or place.spec.truth))
            for place in outputs.needing("entailment")
        ]
        comparable = [(place, outputs.example(place), truth) for place, truth in truths if truth is not None]
        outputs.put([place for place, _, _ in comparable], "entails", [False] * len(comparable))
        asked = [
            (place, outputs.text(place), truth)
            for place, example, truth in comparable
            if not too_far(example.reference, outputs.text(place))
        ]
        pairs = [
            (output, truth) if place.spec.premise == "output" else (truth, output) for place, output, truth in asked
        ]
        found = [bool(logits.argmax() == self._entailer.yes) for logits in classify(self._entailer, pairs)]
        outputs.put([place for place, _, _ in asked], "entails", found)
