"""A reward model: how good the output is as an answer to its prompt."""

from typing import Any

from expunge.evaluation.judges.base import Device, InTurn, Judge, Outputs, in_turn
from expunge.evaluation.judges.texts import classify, load_reward_model
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.suites.columns import question_of


class Reward(Judge):
    """Scores prompt and output as a pair of texts."""

    setting = "reward_model"

    def __init__(self, model: InTurn) -> None:
        self._model = model

    @classmethod
    def opened(cls, models: JudgeModels, device: Device) -> "Reward | None":
        return cls(in_turn(models.reward_model, load_reward_model, device)) if models.reward_model else None

    def identity(self) -> Any:
        return {"name": self._model.name, "fingerprint": self._model.fingerprint}

    def judge(self, outputs: Outputs) -> None:
        if places := outputs.needing("reward"):
            pairs = [(question_of(place.row, place.spec), outputs.text(place)) for place in places]
            found = self._model.ask(lambda model: [float(logits[model.yes]) for logits in classify(model, pairs)])
            outputs.put(places, "reward", found)
