"""Questions with every model's answer side by side, those that speak against a run first."""

from collections.abc import Sequence
from typing import Any

from expunge.report.comparison import Comparison, Example
from expunge.report.words import number, set_label, wording

FIRST_SHOWN = {True: 6, False: 3}  # questions of a forget set, and of another, before "show all"
EMBEDDED = 100  # questions of each set in the page at most; all are in the examples table
SCORES = ("fact_accuracy", "rougeL_recall", "rougeL_f1", "probability")  # printed under each answer


def answers(comparison: Comparison) -> list[dict[str, Any]]:
    """Questions by set with each model's answer, the telling ones first."""
    by_model = [{(e.set, e.index): e for e in model.examples} for model in comparison.models]
    own = [{(e.set, e.index): e for e in run.examples} for run in comparison.runs]
    keys = list(dict.fromkeys(key for examples in (*own, *by_model) for key in examples))
    groups = []
    for name in dict.fromkeys(set_name for set_name, _ in keys):
        of_set = [key for key in keys if key[0] == name]
        forget = comparison.models[0].kind(name) == "forget"
        of_set.sort(key=lambda key: _order([examples[key] for examples in own if key in examples], forget))
        cards = []
        for key in of_set[:EMBEDDED]:
            rows = [examples.get(key) for examples in by_model]
            first = next(row for row in rows if row is not None)
            cards.append(
                {
                    "question": first.question,
                    "index": first.index,
                    "answer": first.answer,
                    "answers": [
                        (
                            model.name,
                            row.generation if row else None,
                            _scores(row) if row else "",
                        )
                        for model, row in zip(comparison.models, rows, strict=True)
                    ],
                }
            )
        groups.append(
            {
                "label": set_label(name, comparison.models[0].results),
                "total": len(of_set),
                "cards": cards,
                "first": FIRST_SHOWN[forget],
                "order": "where any run comes closest to the right answer first"
                if forget
                else "where any run is furthest off first",
            }
        )
    return groups


def _order(rows: Sequence[Example], forget: bool) -> tuple[float, ...]:
    """Sorts what would speak against a run to the front: leaks on the forget set, damage elsewhere."""
    sign = -1 if forget else 1
    scores = [tuple(sign * row.values.get(metric, 0.0) for metric in SCORES) for row in rows]
    return min(scores, default=(0.0,) * len(SCORES))


def _scores(row: Example) -> str:
    parts = []
    for metric in SCORES:
        if (value := row.values.get(metric)) is None:
            continue
        if metric == "fact_accuracy":
            parts.append("contains the fact" if value == 1 else "fact absent")
        else:
            parts.append(f"{wording(metric).label} {number(value)}")
    return " · ".join(parts)
