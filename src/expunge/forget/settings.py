"""What a verdict looks at: the model as it is, asked in other words, relearned in part, and in fewer bits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks import relearn
from expunge.attacks.ask import Values, ask
from expunge.attacks.base import CHANGE, NONE
from expunge.attacks.prompts import PROMPTS
from expunge.attacks.quantize import BITSANDBYTES, ROUNDED, linear_weights, rounded
from expunge.data import PromptStyle, Row
from expunge.errors import InputError
from expunge.evaluation.passes.run import Progress
from expunge.forget.knowledge import METRICS
from expunge.models import load_model

PLAIN = "as it is"
REWORDED = ("polite", "recall", "role_play")
STEPS, RATES = (1, 5, 20), (1e-4, 1e-3)
"""Of relearning."""
RELEARNED = "relearned"


def reworded(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    progress: Progress,
) -> dict[str, Values]:
    """Every row in other words."""
    found = {}
    for name in REWORDED:
        asked = [replace(row, turns=PROMPTS[name](row, ()).turns) for row in rows]
        found[f"asked otherwise: {name}"] = ask(model, tokenizer, asked, style, METRICS, progress)
    return found


def relearned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    progress: Progress,
    seed: int,
) -> dict[str, Values]:
    """Every row after relearning on the other half of the rows, for each setting of the attack."""
    evens, odds = list(range(0, len(rows), 2)), list(range(1, len(rows), 2))
    found: dict[str, Values] = {}
    for trained, measured in ((evens, odds), (odds, evens)):
        # the attack measures every second row: each after one that it may train on
        pairs = [rows[i] for k, at in enumerate(measured) for i in (trained[k % len(trained)], at)]
        for row in relearn(
            *(model, tokenizer, pairs),
            steps=STEPS,
            rates=RATES,
            metrics=METRICS,
            seed=seed,
            style=style,
            progress=progress,
        ):
            if row.setting != NONE and not row.metric.endswith(CHANGE):
                name = f"{RELEARNED}: {row.setting.removesuffix(' on=forget')}"
                values = found.setdefault(name, {m.name: np.full(len(rows), np.nan) for m in METRICS})
                values[row.metric][measured] = row.values
    return found


def in_four_bits(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    progress: Progress,
) -> dict[str, Values]:
    """Every row with the linear layers' weights rounded to 16 levels."""
    if not linear_weights(model):
        return {}
    with rounded(model):
        return {f"quantized: {ROUNDED}": ask(model, tokenizer, rows, style, METRICS, progress)}


def quantized(
    place: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    style: PromptStyle,
    progress: Progress,
    device: str | None,
) -> Iterator[tuple[str, Values | str]]:
    """Every row by the model loaded in 8 and in 4 bits: the values, or why there are none."""
    for bits in BITSANDBYTES:
        name = f"quantized: {bits}"
        try:
            small, _ = load_model(place, device=device, quantization=bits)
        except InputError as error:  # bitsandbytes is not there, or cannot do it here
            yield name, str(error)
            continue
        yield name, ask(small, tokenizer, rows, style, METRICS, progress)
        del small
