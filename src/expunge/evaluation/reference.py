"""What is compared with: results of the retain model, ours or the log that OpenUnlearning publishes for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from expunge.errors import InputError
from expunge.evaluation.results import Results, load_results
from expunge.evaluation.table import column_of


@dataclass(frozen=True)
class Reference:
    """The retain model's numbers.

    Attributes:
        name: where they are from, for errors.
        truth_ratios: r of the forget set, [n].
        min_k_auc: its AUC of mia_min_k.
        table: its examples, where there are any: a published log has none that can be matched with rows.
        tokenizer: fingerprint; None for a published log.
    """

    name: str
    truth_ratios: np.ndarray | None
    min_k_auc: float | None
    table: pa.Table | None = None
    tokenizer: str | None = None


def from_results(results: Results) -> Reference:
    """The reference that our own results of the retain model make."""
    min_k = results.metrics.get("forget/mia_min_k")
    return Reference(
        name=results.model["path"],
        truth_ratios=column_of(results.table, "forget", "truth_ratio"),
        min_k_auc=None if min_k is None else min_k.value,
        table=results.table,
        tokenizer=results.recipe["tokenizer"],
    )


def read_reference(path: str | Path) -> tuple[Reference, Results | None]:
    """Read `--retain-results`: results.json of `expunge eval`, or a `*_EVAL.json` log of OpenUnlearning.

    Raises:
        InputError: neither of both.
    """
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not whole JSON ({error}).") from None
    if isinstance(raw, dict) and "schema" not in raw and {"forget_truth_ratio", "mia_min_k"} & set(raw):
        return _from_log(path, raw), None
    results = load_results(path)
    return from_results(results), results


def _from_log(path: str | Path, raw: Mapping[str, Any]) -> Reference:
    """The log keeps r' = 1/r per row as `score`, and the AUC in our convention as `agg_value`."""
    try:
        ratios = None
        if "forget_truth_ratio" in raw:
            by_index = raw["forget_truth_ratio"]["value_by_index"]
            scores = [by_index[i]["score"] for i in sorted(by_index, key=int)]
            ratios = 1 / np.maximum([np.nan if s is None else float(s) for s in scores], np.finfo(np.float64).tiny)
        auc = raw["mia_min_k"]["agg_value"] if "mia_min_k" in raw else None
        return Reference(str(path), ratios, None if auc is None else float(auc))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a log of OpenUnlearning as expected ({error!r}). Needed: forget_truth_ratio with "
            'value_by_index {"0": {"score": ...}}, or mia_min_k with agg_value.'
        ) from None
