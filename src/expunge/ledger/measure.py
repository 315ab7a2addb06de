"""What a state knows of each request, and whether an earlier one came back.

A row is known as in `expunge verify`: where its right answer is clearly likelier than controls of the same form, or,
with too few of those, where it is said. The rule for a regression is `came_back`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.ask import Values, ask
from expunge.data import Row
from expunge.evaluation.passes.progress import bars
from expunge.evaluation.results.fingerprints import model_section
from expunge.forget.build import spread
from expunge.forget.judge import RETAINED
from expunge.forget.knowledge import METRICS, known, with_controls
from expunge.metrics.bootstrap import mean_interval, wilson
from expunge.metrics.probability import PROBABILITY
from expunge.models import check_head, fingerprint_tokenizer, load_model
from expunge.training import Recipe

MARGIN = 0.05
"""So many of the rows that were forgotten, as a share, may at most be known again by the lower 95 % bound."""
RETAIN_ROWS = 100
"""Most retain rows that are measured of a state: evenly spaced ones."""


def load(place: str, recipe: Recipe, device: str | None = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model to be looked at, in float32."""
    return load_model(place, device=device, trust_remote_code=recipe.trust_remote_code)


def identity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """The fingerprints of a model and its tokenizer."""
    section = model_section("", model)
    return {
        "fingerprint": section.fingerprint,
        "configuration": section.configuration,
        "tokenizer": fingerprint_tokenizer(tokenizer),
    }


def measure(
    place: str,
    recipe: Recipe,
    requests: Mapping[str, Sequence[Row]],
    retain: Sequence[Row],
    holdout: Sequence[Row] = (),
    device: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure a model on the rows of requests, and on some of those to keep.

    Args:
        place: of the model.
        recipe: says how prompts are written.
        requests: rows by request.
        retain: the retain set.
        holdout: rows never trained on; more controls are made from them.
        device: default: a GPU if there is one.
        progress: show progress bars on the error stream.

    Returns:
        `model`: its fingerprints; `requests`: by request and name a value for each row, null where there is none;
        `retain`: by metric the mean, its interval and the number of rows. No text.
    """
    model, words = load(place, recipe, device)
    check_head(model)
    style = recipe.model_copy(update={"model": place}).prompt_style()
    sample = spread(retain, RETAIN_ROWS)
    with bars(place.rpartition("/")[2], progress) as report:
        found = _of_requests(
            ask(model, words, _asked(requests, holdout), style, (*METRICS, PROBABILITY), report), requests
        )
        kept = ask(model, words, sample, style, RETAINED, report) if sample else {}
    return {"model": identity(model, words), "requests": found, "retain": {k: _mean(v) for k, v in kept.items()}}


def _asked(requests: Mapping[str, Sequence[Row]], holdout: Sequence[Row]) -> list[Row]:
    """All rows with their controls, which are those of their request's rows: the same each time."""
    return [row for rows in requests.values() for row in with_controls(rows, holdout)]


def _of_requests(values: Values, requests: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, list[Any]]]:
    each = {**values, "known": known(values).astype(float)}
    found, first = {}, 0
    for name, rows in requests.items():
        here = slice(first, first + len(rows))
        found[name] = {metric: _plain(column[here]) for metric, column in each.items()}
        first += len(rows)
    return found


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _mean(values: np.ndarray) -> dict[str, Any] | None:
    measured = values[~np.isnan(values)]
    if not measured.size:
        return None
    return {"value": float(measured.mean()), "ci95": mean_interval(measured), "n": int(measured.size)}


def share(values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """How many rows of a request are known, of how many, and how many chance alone would make known."""
    by_chance = sum(value or 0.0 for value in values["chance"])
    return {"known": int(sum(values["known"])), "rows": len(values["known"]), "by_chance": by_chance}


def came_back(then: Mapping[str, Sequence[Any]], now: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Whether a request that was processed earlier came back.

    Of the rows that were not known right after the request was processed: the share that is known now. It is a
    regression where the lower 95 % bound of that share (Wilson's), less what chance alone makes known (the share of
    these rows' controls that would count as known), is above `MARGIN`.

    Args:
        then: the request's values right after it was processed.
        now: its values of a later state.

    Returns:
        `forgotten`: rows not known then; `back`: of those, known now; `chance`; `bound`; `regression`.
    """
    gone = [i for i, was in enumerate(then["known"]) if not was]
    back = int(sum(now["known"][i] for i in gone))
    chance = float(np.mean([now["chance"][i] or 0.0 for i in gone])) if gone else 0.0
    bound = wilson(back / len(gone), len(gone))[0] - chance if gone else 0.0
    return {"forgotten": len(gone), "back": back, "chance": chance, "bound": bound, "regression": bound > MARGIN}
