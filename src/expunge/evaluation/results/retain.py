"""What is compared with: results of the retain model, ours or the log that OpenUnlearning publishes for it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from expunge.data import PromptStyle
from expunge.errors import InputError
from expunge.evaluation.results.aggregate import add_forget_quality, add_privleak, membership_scores
from expunge.evaluation.results.comparable import same_rows
from expunge.evaluation.results.schema import Results, load_results, read_object
from expunge.evaluation.results.table import column_of
from expunge.evaluation.suites.suite import Suite
from expunge.metrics.membership import MIA_MIN_K, resampled_aucs

NO_RETAIN_MODEL = (
    "it compares with a model that was trained without the forget set: give one with --retain-model, or its results "
    "with --retain-results"
)

UNKNOWN_PROMPTS = (
    "the retain model's results do not say with which chat template, system prompt and date it was asked, so forget "
    "quality and privacy leak hold only if they were the same"
)


@dataclass(frozen=True)
class RetainNumbers:
    """The retain model's numbers.

    Attributes:
        name: where they are from, for errors.
        truth_ratios: r of the forget set, [n].
        min_k_auc: its AUC of mia_min_k.
        results: its own results, where there are any: a published log has no rows that can be matched.
    """

    name: str
    truth_ratios: np.ndarray | None
    min_k_auc: float | None
    results: Results | None = None

    @property
    def table(self) -> pa.Table | None:
        """Its examples."""
        return None if self.results is None else self.results.examples


def from_results(results: Results) -> RetainNumbers:
    """The numbers that our own results of the retain model give."""
    forget = next((name for name in results.data.sets if results.kind_of(name) == "forget"), "forget")
    min_k = results.metrics.get(f"{forget}/mia_min_k")
    return RetainNumbers(
        name=results.model.path,
        truth_ratios=column_of(results.examples, forget, "truth_ratio"),
        min_k_auc=None if min_k is None else min_k.value,
        results=results,
    )


def read_retain_results(path: str | Path) -> tuple[RetainNumbers, Results | None]:
    """Read `--retain-results`: results.json of `expunge eval`, or a `*_EVAL.json` log of OpenUnlearning.

    Raises:
        InputError: neither of both.
    """
    raw = read_object(Path(path))
    if "schema" not in raw and {"forget_truth_ratio", "mia_min_k"} & set(raw):
        return _from_log(path, raw), None
    results = load_results(path)
    return from_results(results), results


def _from_log(path: str | Path, raw: Mapping[str, Any]) -> RetainNumbers:
    """The log keeps r' = 1/r per row as `score`, and the AUC in our convention as `agg_value`."""
    try:
        ratios = None
        if "forget_truth_ratio" in raw:
            scores = [row["score"] for row in raw["forget_truth_ratio"]["value_by_index"].values()]
            ratios = 1 / np.maximum([np.nan if s is None else float(s) for s in scores], np.finfo(np.float64).tiny)
        auc = raw["mia_min_k"]["agg_value"] if "mia_min_k" in raw else None
        return RetainNumbers(str(path), ratios, None if auc is None else float(auc))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a log of OpenUnlearning as expected ({error!r}). Needed: forget_truth_ratio with "
            'value_by_index {"0": {"score": ...}}, or mia_min_k with agg_value.'
        ) from None


def comparable(retain: RetainNumbers | None, recipe: Mapping[str, Any]) -> tuple[RetainNumbers | None, str]:
    """The retain model's numbers where a model's can be compared with them; else None, and why.

    Args:
        retain: its numbers, if it was given.
        recipe: the settings that the model was measured with.
    """
    if retain is None:
        return None, NO_RETAIN_MODEL
    if retain.results is None:  # a published log does not say
        return retain, NO_RETAIN_MODEL
    there = retain.results.recipe
    if there["tokenizer"] != recipe["tokenizer"]:
        return None, "the retain model has another tokenizer or chat template, so the two cannot be compared"
    if there.get("prompts", recipe["prompts"]) != recipe["prompts"]:
        return None, (
            f"the retain model was asked with other prompts ({PromptStyle(**there['prompts'])}): measure it with the "
            "same --template, --system and --date"
        )
    return retain, NO_RETAIN_MODEL


def add_comparison(results: Results, suite: Suite, retain: RetainNumbers | None, why: str) -> None:
    """Add what is told by comparison with the retain model to the summary: forget quality and privleak.

    Args:
        results: of the model; their summary is added to.
        suite: its metrics.
        retain: the retain model's numbers; None without one that can be compared with.
        why: there is none.

    Raises:
        InputError: the retain model was asked something else.
    """
    summary, table = results.summary, results.examples
    forget = next((spec for spec in suite.sets if spec.kind == "forget"), None)
    if forget is None:
        return
    if retain is not None and (retain.results is None or "prompts" not in retain.results.recipe):
        summary.reasons["retain_prompts"] = UNKNOWN_PROMPTS
        warnings.warn(f"{retain.name}: {UNKNOWN_PROMPTS}.", stacklevel=2)
    if retain is not None:
        _check_same_rows(results, retain, forget.name)
    if "truth_ratio" in table.column_names:
        reference = None if retain is None else retain.truth_ratios
        add_forget_quality(summary, column_of(table, forget.name, "truth_ratio"), reference, why)
    if MIA_MIN_K not in suite.metrics:
        return
    assert MIA_MIN_K.member is not None
    measured = results.metrics.get(f"{forget.name}/mia_min_k")
    ours = None if measured is None else measured.value
    their_auc = None if retain is None else retain.min_k_auc
    resampled = None
    scores = membership_scores(MIA_MIN_K, forget, suite, table, None)
    if retain is not None and scores is not None and their_auc is not None:
        their_scores = None if retain.table is None else membership_scores(MIA_MIN_K, forget, suite, retain.table, None)
        theirs = their_auc if their_scores is None else resampled_aucs(*their_scores, MIA_MIN_K.member)
        resampled = resampled_aucs(*scores, MIA_MIN_K.member), theirs
    add_privleak(summary, ours, their_auc, resampled, why)


def _check_same_rows(results: Results, retain: RetainNumbers, forget: str) -> None:
    """Both models must have been asked the same; of a published log the number of rows alone is known."""
    if retain.results is None:
        ours = len(column_of(results.examples, forget, "index"))
        n = ours if retain.truth_ratios is None else len(retain.truth_ratios)
        differs = [] if n == ours else [f"{forget!r}: {n} rows there, {ours} here"]
    else:
        sets = [name for name in results.data.sets if name in retain.results.data.sets]
        compared = [name for name in sets if results.kind_of(name) != "retain"]
        differs = [repr(name) for name in compared if not same_rows(results, retain.results, name)]
    if differs:
        raise InputError(
            f"The retain model's results ({retain.name}) are of other rows of the set {differs[0]}. Evaluate both with "
            "the same --data, --forget-split and --holdout; plain text is cut to each model's context, which must be "
            "the same too."
        )
