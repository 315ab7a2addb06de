"""From measured rows to a verdict: pure functions of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from expunge.attacks.ask import Values
from expunge.data import Row
from expunge.evaluation.results.seal import sealed
from expunge.forget.knowledge import NATS, known, likeliest, says
from expunge.forget.settings import PLAIN, RELEARNED
from expunge.metrics.bootstrap import interval, mean_interval, resampled_means, wilson
from expunge.metrics.probability import PROBABILITY
from expunge.metrics.rouge import ROUGE_L_RECALL_UNICODE
from expunge.metrics.summaries import harmonic_mean, harmonic_means

Status = Literal["not_known", "forgotten", "weaker", "still_known"]
Overall = Literal["forgotten", "partly", "not_forgotten", "model_damaged", "nothing_to_forget", "inconclusive"]

MARGIN = 0.25
"""Forgotten: so many more rows than controls, as a share, may at most be known still (upper 95 % bound)."""
MOST_LOST = 0.10
"""Damaged: the lower 95 % bound of the utility that was lost is above this."""
LEAST_ROWS = 5
WEAKER = 0.5
"""Weaker: less than this share of the target's margin over the controls is left, and the answer is not said."""
RETAINED = (PROBABILITY, ROUGE_L_RECALL_UNICODE)
LIKELIEST = "as it is: the right answer is the likeliest"

Lost = tuple[float, tuple[float, float]]
"""The share of the utility that was lost, and its 95 % interval."""


@dataclass(frozen=True)
class RowVerdict:
    """What became of one row.

    Attributes:
        row: Its place in the forget set.
        known_before: Whether the target knew it.
        status: What it is now.
        margin_before, margin_after: log p(answer) - max log p(control), in nats; None with too few controls.
        brought_back_by: The first setting in which a row that is not known as it is, is known.
    """

    row: int
    known_before: bool
    status: Status
    margin_before: float | None = None
    margin_after: float | None = None
    brought_back_by: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What verdict.json holds.

    Attributes:
        overall: Of all rows together.
        utility_loss: Relative drop of the harmonic mean of probability and ROUGE-L recall on the retain rows; None
            without them.
        rows: Of each forget row, in their order.
        reasons: Why, in plain words.
        evidence: The numbers, with 95 % intervals, and what they were measured on.
    """

    overall: Overall
    utility_loss: float | None
    rows: list[RowVerdict]
    reasons: list[str]
    evidence: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content of verdict.json, with its digests."""
        return sealed(asdict(self))


def judge(
    asked: Sequence[Row],
    before: Values,
    settings: Mapping[str, Values],
    lost: Lost | None,
    kept_before: Values | None = None,
) -> Verdict:
    """A verdict.

    Args:
        asked: The rows, with their controls.
        before: What the target knows of them.
        settings: What the unlearned model knows, as it is (`PLAIN`) and in every other setting.
        lost: What was lost of what must stay; None where it was not measured.
        kept_before: What the target knows of rows that must stay: of rows that it never knew nothing can be lost.
    """
    after, reasons = settings[PLAIN], list[str]()
    known_before = known(before)
    told = share_of(known_before, np.nan_to_num(before["chance"]))
    if told and told["above_chance"][0] <= 0 and len(asked) >= LEAST_ROWS:
        known_before = np.zeros(len(asked), bool)
        reasons.append("the target knows no more of these rows than of controls that it never saw")
    first, guessed = likeliest(after, asked)
    looks = {name: (known(values), np.nan_to_num(values["chance"])) for name, values in settings.items()}
    looks[LIKELIEST] = (first, guessed)
    measured = shares_of({name: (each[known_before], by[known_before]) for name, (each, by) in looks.items()})
    back = {name: known(values) for name, values in settings.items() if name != PLAIN}
    if LIKELIEST in measured and measured[LIKELIEST]["above_chance"][0] > 0:
        back[LIKELIEST] = first == 1
    evidence = {
        "known_before": told,
        "known_after": measured.get(PLAIN),
        "known_after_relearning": _worst({n: s for n, s in measured.items() if n.startswith(RELEARNED)}),
        "known_under": measured,
        "said_after": float(says(after).mean()),
        "utility_loss": None if lost is None else {"value": lost[0], "ci95": list(lost[1])},
        "retain_known_before": (
            None if kept_before is None else share_of(kept_before["margin"] > NATS, kept_before["chance"])
        ),
    }
    kept = evidence["retain_known_before"]
    overall = _overall(int(known_before.sum()), len(asked), measured, lost, kept, reasons)
    rows = [_row(at, bool(known_before[at]), before, after, back) for at in range(len(asked))]
    return Verdict(overall, None if lost is None else lost[0], rows, reasons, evidence)


def _row(at: int, was: bool, before: Values, after: Values, back: Mapping[str, np.ndarray]) -> RowVerdict:
    margins = [None if np.isnan(values["margin"][at]) else float(values["margin"][at]) for values in (before, after)]
    is_known = bool(known(after)[at])
    by = next((name for name, again in back.items() if again[at]), None)
    status: Status = "forgotten"
    if not was:
        status = "not_known"
    elif is_known and (says(after)[at] or after["margin"][at] >= WEAKER * before["margin"][at]):
        status = "still_known"
    elif is_known or by is not None:
        status = "weaker"
    return RowVerdict(at, was, status, margins[0], margins[1], by if was and not is_known else None)


def _overall(
    known_rows: int,
    rows: int,
    shares: Mapping[str, Mapping[str, Any]],
    lost: Lost | None,
    kept: Mapping[str, Any] | None,
    reasons: list[str],
) -> Overall:
    if lost is not None and lost[1][0] > MOST_LOST:
        reasons.append(f"what must stay is damaged: {lost[0]:.0%} of it is lost (95 % interval from {lost[1][0]:.0%})")
        return "model_damaged"
    if not known_rows and rows >= LEAST_ROWS:
        return "nothing_to_forget"
    if known_rows < LEAST_ROWS:
        reasons.append(f"{known_rows} rows were known before; with fewer than {LEAST_ROWS} nothing can be said of all")
        return "inconclusive"
    lows = {name: share["at_least"] for name, share in shares.items()}
    there = max((name for name in (PLAIN, LIKELIEST) if name in lows), key=lambda name: lows[name])
    worst = max(lows, key=lambda name: lows[name])
    if lows[there] > MARGIN:
        reasons.append(f"{shares[there]['value']:.0%} of what was known is still there ({there})")
        return "not_forgotten" if shares[there]["value"] >= 0.5 else "partly"
    if lows[worst] > MARGIN:
        reasons.append(f"suppressed, not removed: {shares[worst]['value']:.0%} of what was known comes back ({worst})")
        return "partly"
    widest = max(shares, key=lambda name: shares[name]["above_chance"][1])
    low, high = lows[widest], shares[widest]["above_chance"][1]
    if high > MARGIN:
        reasons.append(
            f"between {max(0.0, low):.0%} and {high:.0%} of what was known may still be there ({widest}): too few rows "
            "to settle it"
        )
        return "inconclusive"
    if lost is None:
        reasons.append("what must stay was not measured: give rows that must stay with --retain")
        return "inconclusive"
    if kept and kept["above_chance"][0] <= 0:
        reasons.append(
            "the target knows no more of the rows that must stay than of controls, so that they cannot show what is "
            "lost: give rows that it knows with --retain"
        )
        return "inconclusive"
    if lost[1][1] > MOST_LOST:
        reasons.append(f"up to {lost[1][1]:.0%} of what must stay may be lost: too few retain rows to settle")
        return "inconclusive"
    reasons.append(f"at most {high:.0%} more of these rows than of controls is known in any setting (95 % bound)")
    return "forgotten"


def _worst(shares: Mapping[str, dict[str, Any]]) -> dict[str, Any] | None:
    return max(shares.values(), key=lambda share: share["above_chance"][0], default=None)


def shares_of(looks: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, dict[str, Any]]:
    """`share_of` each look at the same rows, with `at_least`, a lower bound for all looks together.

    A look is whether each row is known (NaN: not judged) and how often chance makes it so, [rows] both. The look with
    the most left decides, and one of many is high by chance: the bound allows for the largest deviation of any of them,
    in the same resamples of the rows.
    """
    found, above = dict[str, dict[str, Any]](), dict[str, np.ndarray]()
    for name, (is_known, by_chance) in looks.items():
        judged = ~np.isnan(is_known)
        if share := share_of(is_known[judged], by_chance[judged]):
            found[name], above[name] = share, is_known - by_chance
    if not found:
        return found
    means = {name: float(np.nanmean(each)) for name, each in above.items()}
    deviations = np.max([resampled_means(each) - means[name] for name, each in above.items()], axis=0)
    largest = interval(deviations)
    for name, share in found.items():
        low = share["above_chance"][0]
        share["at_least"] = min(low, means[name] - largest[1]) if largest else low
    return found


def share_of(known: np.ndarray, by_chance: np.ndarray) -> dict[str, Any] | None:
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


def utility_loss(before: Values, after: Values) -> Lost | None:
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
