"""What a request needs and nobody gave: kept rows in two parts, neighbours, unseen rows; each set saved as it is."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expunge.data import Row, load_rows
from expunge.data.rows import METRIC_COLUMNS
from expunge.files import whole_file
from expunge.forget.anchors import MIXED, SOURCE, WORLD, subjects, with_name
from expunge.forget.controls import controls

MOST_CHECKED = 40
ASIDE, LEAST_SUBJECTS = 8, 5
"""Of the subjects of recovered rows, one in so many is set aside: what is set aside is what is lost. Of fewer, none."""


@dataclass(frozen=True)
class Built:
    """Rows of a request.

    Attributes:
        forget: Those that the target knows, to be trained on.
        kept: Those that must stay, to be trained on.
        checked: Recovered from the model, and not trained on: they show what training does beside the kept rows.
        neighbours: Checked questions with a forgotten name in them.
        unseen: Rows that nobody was ever taught, of the forget rows' form.
    """

    forget: list[Row]
    kept: list[Row]
    checked: list[Row]
    neighbours: list[Row]
    unseen: list[Row]

    def save(self, folder: Path) -> None:
        """One file each, `<name>.jsonl`."""
        for name, rows in vars(self).items():
            save_rows(folder / f"{name}.jsonl", rows)

    @classmethod
    def load(cls, folder: Path) -> "Built":
        """As it was saved; a set without rows has an empty file."""
        files = {name: folder / f"{name}.jsonl" for name in cls.__dataclass_fields__}
        return cls(**{name: load_rows(str(file)) if file.stat().st_size else [] for name, file in files.items()})


def build(
    forget: Sequence[Row], given: Sequence[Row], recovered: Sequence[Row], holdout: Sequence[Row], seed: int
) -> Built:
    """The sets of a request.

    Args:
        forget: Known rows.
        given: The user's rows that must stay; may be empty.
        recovered: Such rows from the model itself: kept where none are given, but for those set aside.
        holdout: The user's rows that the model never saw; may be empty.
        seed: Of which rows are set aside.
    """
    asked = {row.prompt for row in given}
    keep, checked = _aside([row for row in recovered if row.prompt not in asked], seed)
    keep = list(given) or keep
    names = [name for row in forget for name in subjects(row)[:1]]
    neighbours = [with_name(row, names[i % len(names)]) for i, row in enumerate(checked)] if names else []
    return Built(list(forget), keep, checked, neighbours, list(holdout) or unseen(forget, keep))


def _aside(recovered: Sequence[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Recovered rows in two parts: to be kept, and set aside.

    All of a subject is set aside, or nothing: what is trained on of one question of a subject changes how the others
    are answered.
    """
    sources = {row.columns[SOURCE] for row in recovered}
    order = sorted(source for source in sources if source != MIXED and not source.startswith(WORLD))
    random.Random(seed).shuffle(order)
    apart = set(order[: max(1, len(order) // ASIDE)]) if len(order) >= LEAST_SUBJECTS else set()
    kept = [row for row in recovered if row.columns[SOURCE] not in apart and not _mixed_with(row, apart)]
    return kept, spread([row for row in recovered if row.columns[SOURCE] in apart], MOST_CHECKED)


def _mixed_with(row: Row, names: set[str]) -> bool:
    """Whether a row about several names is about one of these."""
    return row.columns[SOURCE] == MIXED and any(name in f"{row.prompt} {row.completion}" for name in names)


def unseen(forget: Sequence[Row], keep: Sequence[Row]) -> list[Row]:
    """The forget rows about people who do not exist: names put together of two known ones, and another's facts."""
    names = [subjects(row)[0] for row in [*forget, *keep] if subjects(row)]
    parted = [name.split() for name in dict.fromkeys(names) if " " in name]
    taken, found = set(names), []
    wrong = controls(forget, [forget] * len(forget))
    for at, (row, answers) in enumerate(zip(forget, wrong, strict=True)):
        name = next(iter(subjects(row)), None)
        mixed = [f"{first[0]} {last[-1]}" for first in parted[at % max(1, len(parted)) :] for last in reversed(parted)]
        other = next((one for one in mixed if one not in taken), None)
        if name is None or other is None or not answers:
            continue
        question, answer = row.prompt.replace(name, other), answers[at % len(answers)].replace(name, other)
        found.append(Row((*row.turns[:-1], replace(row.turns[-1], content=question)), answer, {SOURCE: "nobody"}))
    return found


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many rows, evenly spread over a set: the same ones each time."""
    return list(rows[:: max(1, -(-len(rows) // most))])


def save_rows(path: Path, rows: Sequence[Row]) -> None:
    """As JSON Lines, which any command reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text("".join(json.dumps(_record(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _record(row: Row) -> Mapping[str, Any]:
    columns = {name: value for name, value in row.columns.items() if name in (*METRIC_COLUMNS, SOURCE)}
    if len(row.turns) == 1:
        return {**columns, "question": row.prompt, "answer": row.completion}
    turns = [{"role": turn.role, "content": turn.content} for turn in row.turns]
    return {**columns, "messages": [*turns, {"role": "assistant", "content": row.completion}]}
