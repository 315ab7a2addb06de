"""Sentence embeddings: how close outputs are to the truth, to a hallucination, to the original model's outputs."""

from collections.abc import Callable
from typing import Any

from expunge.evaluation.judges.base import Device, Judge, Outputs, Place
from expunge.evaluation.judges.embeddings import Embedder, load_embedder
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.suites.columns import text_of
from expunge.metrics import Need

RIGHT, HALLUCINATED = "right_answer", "hallucinated_answer"


class Similarity(Judge):
    """Fills in the cosines that cosine similarity, hallucination rate and similarity to the original look at."""

    setting = "embedding_model"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    @classmethod
    def opened(cls, models: JudgeModels, device: Device) -> "Similarity | None":
        return cls(load_embedder(models.embedding_model, device)) if models.embedding_model else None

    def identity(self) -> Any:
        return {"name": self._embedder.name, "fingerprint": self._embedder.fingerprint}

    def judge(self, outputs: Outputs) -> None:
        compared: tuple[tuple[Need, str, Callable[[Place], str | None]], ...] = (
            ("similarity", "similarity", lambda place: text_of(place.row, place.spec.truth)),
            ("hallucination", "right_similarity", _right),
            ("hallucination", "hallucinated_similarity", _hallucinated),
            ("original", "original_similarity", outputs.original_text),
        )
        for need, field, text in compared:
            texts = [(place, other) for place in outputs.needing(need) if (other := text(place)) is not None]
            found = self._embedder.cosines([(outputs.text(place), other) for place, other in texts])
            outputs.put([place for place, _ in texts], field, found)


def _right(place: Place) -> str | None:
    """The right answer, on rows that have a hallucinated one."""
    return None if _hallucinated(place) is None else text_of(place.row, RIGHT)


def _hallucinated(place: Place) -> str | None:
    """The hallucinated answer: its column, else the row's own answer where a right one stands beside it."""
    right = text_of(place.row, RIGHT)
    wrong = text_of(place.row, HALLUCINATED) or place.row.completion
    return None if right is None or wrong == right else wrong
