"""`expunge verify`: what a model forgot of what another one knew, row by row, and whether it stays forgotten.

The weights are judged, not what stands around them: the unlearned model is asked with the target's tokenizer and chat
template. A row is known where its right answer is clearly likelier than controls of the same form, or is said. What a
few steps of relearning on *other* rows bring back was not forgotten.
"""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expunge.attacks import relearn
from expunge.attacks.ask import Values, ask
from expunge.attacks.base import CHANGE, NONE
from expunge.data import PromptStyle, Row
from expunge.errors import InputError
from expunge.evaluation.passes.progress import bars
from expunge.evaluation.results.fingerprints import model_section
from expunge.evaluation.results.seal import sealed
from expunge.files import write_json
from expunge.forget.knowledge import METRICS, known, likeliest, says, with_controls
from expunge.metrics.bootstrap import interval, mean_interval, resampled_means, wilson
from expunge.metrics.probability import PROBABILITY
from expunge.metrics.rouge import ROUGE_L_RECALL_UNICODE
from expunge.metrics.summaries import harmonic_mean, harmonic_means
from expunge.models import check_head, fingerprint_rows, fingerprint_tokenizer, load_model

Status = Literal["not_known", "forgotten", "weaker", "still_known"]
Overall = Literal["forgotten", "partly", "not_forgotten", "model_damaged", "nothing_to_forget", "inconclusive"]

MARGIN = 0.10
"""Forgotten: so many more rows than controls, as a share, may at most be known still (upper 95 % bound)."""
MOST_LOST = 0.10
"""Damaged: the lower 95 % bound of the utility that was lost is above this."""
LEAST_ROWS = 5
WEAKER = 0.5
"""Weaker: less than this share of the target's margin over the controls is left, and the answer is not said."""
STEPS, RATES = (1, 5), (1e-4, 1e-3)
"""Of the relearning attack."""
RETAINED = (PROBABILITY, ROUGE_L_RECALL_UNICODE)
VERDICT = "verdict.json"


@dataclass(frozen=True)
class RowVerdict:
    """What became of one row."""

    row: int
    known_before: bool
    status: Status


@dataclass(frozen=True)
class Verdict:
    """What verdict.json holds.

    Attributes:
        overall: of all rows together.
        utility_loss: relative drop of the harmonic mean of probability and ROUGE-L recall on the retain rows; None
            without them.
        rows: of each forget row, in their order.
        reasons: why, in plain words.
        evidence: the numbers, with 95 % intervals, and what they were measured on.
    """

    overall: Overall
    utility_loss: float | None
    rows: list[RowVerdict]
    reasons: list[str]
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of verdict.json, with its digests."""
        return sealed(asdict(self))


def verify(
    model: str | Path,
    target: str | Path,
    forget: Sequence[Row],
    retain: Sequence[Row] = (),
    holdout: Sequence[Row] = (),
    *,
    style: PromptStyle = PromptStyle(),
    seed: int = 0,
    device: str | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> Verdict:
    """Judge an unlearned model against the one before; one of them in memory at a time.

    Args:
        model: the unlearned model's folder.
        target: the folder of the model before.
        forget: question and answer rows.
        retain: rows that must stay; without them nothing can be called forgotten.
        holdout: rows that neither model was trained on; more controls are made from them.
        style: how conversations are written, for both.
        seed: of the relearning attack.
        device: default: a GPU if there is one.
        out: the folder to write verdict.json into.
        progress: show progress bars on the error stream.

    Raises:
        InputError: rows that ask nothing, or a model that cannot be loaded.
    """
    if plain := [number for number, row in enumerate(forget) if not row.turns]:
        raise InputError(f"--forget: row {plain[0]} is plain text; rows are judged by question and answer.")
    if not forget:
        raise InputError("--forget: there are no rows to judge.")
    asked = with_controls(forget, holdout)
    with bars("target", progress) as report:
        loaded, words = load_model(target, device=device)
        check_head(loaded)
        evidence: dict[str, Any] = {"target": asdict(model_section(str(target), loaded))}
        before = ask(loaded, words, asked, style, METRICS, report)
        kept_before = ask(loaded, words, retain, style, RETAINED, report) if retain else {}
    del loaded
    gc.collect()
    with bars("unlearned", progress) as report:
        loaded, own = load_model(model, device=device)
        check_head(loaded)
        if len(own) != len(words):
            raise InputError(f"{model}: has another vocabulary than {target}. Rows cannot be compared.")
        evidence["unlearned"] = asdict(model_section(str(model), loaded))
        after = ask(loaded, words, asked, style, METRICS, report)
        kept_after = ask(loaded, words, retain, style, RETAINED, report) if retain else {}
        back = [after]
        if len(asked) > 1 and known(before).any():
            back += _relearned(loaded, words, asked, seed=seed, style=style, progress=report)
    del loaded
    verdict = _judge(asked, before, after, back, _lost(kept_before, kept_after))
    same_template = fingerprint_tokenizer(own) == fingerprint_tokenizer(words)
    if not same_template:
        note = "its tokenizer or chat template differs from the target's; the weights were asked with the target's"
        verdict.reasons.append(note)
    sets = {"forget": forget, "retain": retain, "holdout": holdout}
    evidence["data"] = {name: [len(rows), fingerprint_rows(rows)] for name, rows in sets.items() if rows}
    evidence["settings"] = {"margin": MARGIN, "most_lost": MOST_LOST, "least_rows": LEAST_ROWS, "seed": seed}
    verdict.evidence.update(evidence)
    if out is not None:
        write_json(Path(out) / VERDICT, verdict.to_json())
    return verdict


def _relearned(model: Any, tokenizer: Any, rows: Sequence[Row], **options: Any) -> list[Values]:
    """What every row is worth after relearning on the other half of the rows, for each setting of the attack."""
    evens, odds = list(range(0, len(rows), 2)), list(range(1, len(rows), 2))
    found: dict[str, dict[str, np.ndarray]] = {}
    for trained, measured in ((evens, odds), (odds, evens)):
        # the attack measures every second row: each after one that it may train on
        pairs = [rows[i] for k, at in enumerate(measured) for i in (trained[k % len(trained)], at)]
        for row in relearn(model, tokenizer, pairs, steps=STEPS, rates=RATES, metrics=METRICS, **options):
            if row.setting != NONE and not row.metric.endswith(CHANGE):
                values = found.setdefault(row.setting, {m.name: np.full(len(rows), np.nan) for m in METRICS})
                values[row.metric][measured] = row.values
    return list(found.values())


def _judge(
    asked: Sequence[Row],
    before: Values,
    after: Values,
    back: Sequence[Values],
    lost: tuple[float, tuple[float, float]] | None,
) -> Verdict:
    """From measured rows to the verdict; `back` is the unlearned model as it is, and after each relearning."""
    known_before, known_after = known(before), known(after)
    left = np.any([known(values) for values in back], axis=0)
    first, guessed = likeliest(after, asked)
    n, reasons = len(left), list[str]()
    chance = np.max([np.nan_to_num(values["chance"]) for values in back], axis=0)
    evidence: dict[str, Any] = {"known_before": _share(known_before, np.nan_to_num(before["chance"]))}
    if evidence["known_before"]["above_chance"][0] <= 0 and n >= LEAST_ROWS:
        known_before = np.zeros(n, bool)
        reasons.append("the target knows no more of these rows than of controls that it never saw")
    judged = known_before & ~np.isnan(first)
    evidence |= {
        "known_after": _share(known_after[known_before], np.nan_to_num(after["chance"])[known_before]),
        "known_after_relearning": _share(left[known_before], chance[known_before]),
        "likeliest_after": _share(first[judged], guessed[judged]),
        "said_after": float(says(after).mean()),
        "utility_loss": None if lost is None else {"value": lost[0], "ci95": list(lost[1])},
    }
    if evidence["likeliest_after"] is not None and evidence["likeliest_after"]["above_chance"][0] > 0:
        reasons.append("right answers are the likeliest more often than chance makes them")
        left |= first == 1
    strong = known_after & (says(after) | (after["margin"] >= WEAKER * before["margin"]))
    statuses: list[Status] = [
        "not_known" if not was else "still_known" if is_strong else "weaker" if is_left else "forgotten"
        for was, is_strong, is_left in zip(known_before, strong, left, strict=True)
    ]
    overall = _overall(known_before, left, _share(left[known_before], chance[known_before]), lost, reasons)
    rows = [RowVerdict(i, bool(known_before[i]), statuses[i]) for i in range(n)]
    return Verdict(overall, None if lost is None else lost[0], rows, reasons, evidence)


def _overall(
    known_before: np.ndarray,
    left: np.ndarray,
    counted: Mapping[str, Any] | None,
    lost: tuple[float, tuple[float, float]] | None,
    reasons: list[str],
) -> Overall:
    if lost is not None and lost[1][0] > MOST_LOST:
        reasons.append(f"what must stay is damaged: {lost[0]:.0%} of it is lost (95 % interval from {lost[1][0]:.0%})")
        return "model_damaged"
    if not known_before.any() and len(known_before) >= LEAST_ROWS:
        return "nothing_to_forget"
    if counted is None or known_before.sum() < LEAST_ROWS:
        reasons.append(
            f"{known_before.sum()} rows were known before; with fewer than {LEAST_ROWS} nothing can be said of all"
        )
        return "inconclusive"
    low, high = counted["above_chance"]
    share = float(left[known_before].mean())
    if low > MARGIN:
        reasons.append(f"{share:.0%} of what was known is there, or comes back with a few steps of relearning")
        return "not_forgotten" if share >= 0.5 else "partly"
    if high > MARGIN:
        reasons.append(
            f"between {max(0.0, low):.0%} and {high:.0%} of what was known may still be: too few rows to settle it"
        )
        return "inconclusive"
    if lost is None:
        reasons.append("what must stay was not measured: give rows that must stay with --retain")
        return "inconclusive"
    if lost[1][1] > MOST_LOST:
        reasons.append(f"up to {lost[1][1]:.0%} of what must stay may be lost: too few retain rows to settle")
        return "inconclusive"
    reasons.append(f"at most {high:.0%} more of these rows than of controls is known (95 % bound)")
    return "forgotten"


def _share(known: np.ndarray, by_chance: np.ndarray) -> dict[str, Any] | None:
    """The share of rows that are known, and the interval of what is above chance, no narrower than Wilson's."""
    if not known.size:
        return None
    share, expected = float(known.mean()), float(by_chance.mean())
    low, high = (end - expected for end in wilson(share, known.size))
    paired = mean_interval(known - by_chance) or (low, high)
    return {
        "value": share,
        "n": int(known.size),
        "chance": expected,
        "above_chance": [min(low, paired[0]), max(high, paired[1])],
    }


def _lost(before: Values, after: Values) -> tuple[float, tuple[float, float]] | None:
    """1 - utility after / utility before, with its paired 95 % interval; None where it was not measured."""
    names = [metric.name for metric in RETAINED if metric.name in before and not np.isnan(before[metric.name]).all()]
    if not names:
        return None
    means = [harmonic_mean([float(np.nanmean(values[name])) for name in names]) for values in (before, after)]
    draws = [harmonic_means(np.stack([resampled_means(values[name]) for name in names])) for values in (before, after)]
    if not means[0]:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = interval(1 - draws[1] / draws[0])
    value = 1 - means[1] / means[0]
    return value, ends or (value, value)
