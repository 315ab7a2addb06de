"""Does the model know the rows? Every row against its controls, by its greedy answer and by sampled ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.ask import Values, asked, said, values_of
from expunge.attacks.sample import leaks
from expunge.data import PromptStyle, Row
from expunge.evaluation.passes.generate import Sampling
from expunge.evaluation.passes.run import Progress
from expunge.forget.judge import LEAST_ROWS, share_of
from expunge.forget.knowledge import METRICS, known
from expunge.metrics.memorization import EXTRACTION_STRENGTH
from expunge.metrics.probability import PROBABILITY

SAMPLES = 4


@dataclass(frozen=True)
class Known:
    """What the model knows of one row.

    Attributes:
        row: Its place in the forget set.
        known: Whether it counts as known.
        margin: log p(answer) - max log p(control), in nats; None with too few controls.
        probability: Of the answer, p^(1/T).
        extraction_strength: Share of the answer that the model completes by itself.
        said: Whether the greedy answer says what the row says.
        sampled: Share of sampled answers that do.
    """

    row: int
    known: bool
    margin: float | None
    probability: float | None
    extraction_strength: float | None
    said: bool
    sampled: float


@dataclass(frozen=True)
class Knowledge:
    """What the model knows of all rows.

    Attributes:
        rows: Each row.
        above_chance: 95 % interval of the share of rows known, less the share of controls that would be.
        answers: What the model said, greedily and sampled; texts, kept apart from the numbers.
        values: The measured values, for the search.
    """

    rows: list[Known]
    above_chance: tuple[float, float]
    answers: list[list[str]]
    values: Values

    @property
    def places(self) -> list[int]:
        """The rows that are to be unlearned; none where chance explains those that seem known."""
        if self.above_chance[0] <= 0 and len(self.rows) >= LEAST_ROWS:
            return []
        return [one.row for one in self.rows if one.known]

    def to_json(self) -> dict[str, Any]:
        """The numbers, without any text."""
        return {"rows": [asdict(one) for one in self.rows], "above_chance": list(self.above_chance)}


def know(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    seed: int,
    progress: Progress,
) -> Knowledge:
    """Ask a model about rows, which have their controls."""
    metrics = (*METRICS, PROBABILITY, EXTRACTION_STRENGTH)
    examples = asked(model, tokenizer, rows, style, metrics, progress)
    values = values_of(metrics, examples)
    is_known = known(values)
    sampled = said(model, tokenizer, rows, style, Sampling(seed=seed), progress, "sampled answers", SAMPLES)
    answers = [
        [example.generation or "", *sampled[i * SAMPLES : (i + 1) * SAMPLES]] for i, example in enumerate(examples)
    ]
    each = [
        Known(
            row=at,
            known=bool(is_known[at]),
            margin=_number(values["margin"][at]),
            probability=_number(values["probability"][at]),
            extraction_strength=_number(values["extraction_strength"][at]),
            said=leaks(row, answers[at][0]),
            sampled=float(np.mean([leaks(row, text) for text in answers[at][1:]])),
        )
        for at, row in enumerate(rows)
    ]
    seen = share_of(is_known, np.nan_to_num(values["chance"]))
    assert seen is not None  # there are rows
    low, high = seen["above_chance"]
    return Knowledge(each, (low, high), answers, values)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
