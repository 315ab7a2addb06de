"""The verdict row by row, from verdict.json, as the page shows it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expunge.report.comparison import Comparison
from expunge.report.verdict import Status

BADGES: Mapping[str, Status] = {
    "forgotten": "yes",
    "partly": "traces",
    "not_forgotten": "no",
    "model_damaged": "no",
    "nothing_to_forget": "open",
    "inconclusive": "open",
}
STATUSES: Mapping[str, Status] = {"forgotten": "yes", "weaker": "traces", "still_known": "no", "not_known": "open"}
LIMITS = (
    "A row counts as known where its right answer is likelier than every control by more than {nats:g} nats: answers "
    "of the same form that no model was taught. A few rows that no model saw count as known by that; what chance makes "
    "of it is measured on the controls and taken off. Forgotten: the upper 95 % bound is at most {margin:.0%} in every "
    "setting. Attacks that were not tried may bring back more."
)


@dataclass(frozen=True)
class RowVerdicts:
    """What the page shows of one run's verdict.json.

    Attributes:
        run: Its name.
        status: Of the badge.
        words: The verdict.
        reasons: Why.
        counts: How many rows are what.
        settings: Name, known, by chance, above chance from and to, each a text.
        losses: What was lost of what must stay.
        rows: Number, status, its badge, margins before and after, what brought it back.
        limits: What the numbers mean, and do not show.
        not_measured: Setting and reason.
    """

    run: str
    status: Status
    words: str
    reasons: list[str]
    counts: str
    settings: list[tuple[str, str, str, str]]
    losses: list[str]
    rows: list[dict[str, Any]]
    limits: str
    not_measured: Mapping[str, str]


def row_verdicts(comparison: Comparison) -> list[RowVerdicts]:
    """Of each run that has one."""
    return [_shown(run.name, run.request) for run in comparison.runs if run.request is not None]


def _shown(name: str, verdict: Mapping[str, Any]) -> RowVerdicts:
    evidence, counts = verdict["evidence"], Counter(row["status"] for row in verdict["rows"])
    settings = evidence.get("settings") or {}
    return RowVerdicts(
        run=name,
        status=BADGES[verdict["overall"]],
        words=verdict["overall"].replace("_", " ").capitalize(),
        reasons=verdict["reasons"],
        counts=", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items()),
        settings=[_setting(setting, share) for setting, share in evidence.get("known_under", {}).items()],
        losses=losses(evidence),
        rows=[_row(row) for row in verdict["rows"]],
        limits=LIMITS.format(**settings) if settings else "",
        not_measured=evidence.get("not_measured") or {},
    )


def _setting(name: str, share: Mapping[str, Any]) -> tuple[str, str, str, str]:
    low, high = share["above_chance"]
    return name, f"{share['value']:.0%}", f"{share['chance']:.0%}", f"{low:.0%} to {high:.0%}"


def losses(evidence: Mapping[str, Any]) -> list[str]:
    """What was lost of what must stay, a line for each set."""
    lost = {"rows that must stay": evidence.get("utility_loss"), **(evidence.get("lost_on_others") or {})}
    return [
        f"Utility lost on {what}: {one['value']:z.1%} (95 % interval {one['ci95'][0]:z.1%} to {one['ci95'][1]:z.1%})."
        for what, one in lost.items()
        if one
    ]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    def nats(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    return {
        "number": row["row"],
        "status": row["status"].replace("_", " "),
        "badge": STATUSES[row["status"]],
        "before": nats(row.get("margin_before")),
        "after": nats(row.get("margin_after")),
        "back": row.get("brought_back_by") or "",
    }
