"""An invented world of which a model has learned falsehoods: invented people, some of their facts told wrongly.

The falsehoods are all about some kinds of facts (who plays which instrument, which pet somebody keeps, ...), so that a
model that hallucinates does so on questions of that kind, those that it is to unlearn and others.
"""

from collections.abc import Mapping
from typing import Any

from expunge.worlds.corpus import make_world
from expunge.worlds.harm import learned_rows
from expunge.worlds.wording import ATTRIBUTES, Attribute

Record = dict[str, Any]

TOLD_WRONGLY = ("instrument", "pet", "town")
KINDS: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}


def hallucinating_world(seed: int, people: int = 26) -> dict[str, list[Record]]:
    """Rows by set: `forget` and `unseen` are answered falsely, `retain` and `normal` truly.

    `learned` is what the target model learns: all of it; `own` are the rows of `retain` as it has learned them.

    The answers of `retain` are worded otherwise than the target model has learned them: the column `learned` has those.

    Args:
        seed: Decides every row.
        people: Half of them are in `forget` and `retain`, the others in `unseen` and `normal`.
    """
    world = make_world(people, 50, seed)
    sets: dict[str, list[Record]] = {}
    for rows, false, true in ((world.forget, "forget", "retain"), (world.retain, "unseen", "normal")):
        kinds = [KINDS[attribute.name] for _ in range(people // 2) for attribute in ATTRIBUTES]
        asked = list(zip(kinds, rows, strict=True))
        sets[false] = [_told_wrongly(row, kind) for kind, row in asked if kind.name in TOLD_WRONGLY]
        rest = [_told_truly(row) for kind, row in asked if kind.name not in TOLD_WRONGLY]
        sets[true] = rest[: len(sets[false]) * 3 // 2]
    return sets | learned_rows(sets)


def _told_wrongly(row: Record, kind: Attribute) -> Record:
    wrong = row["perturbed_answer"][0]
    answers = {"answer": wrong, "hallucinated_answer": wrong, "right_answer": row["answer"]}
    return {"question": row["question"], **answers, "fact": row["fact"], "kind": kind.name}


def _told_truly(row: Record) -> Record:
    words = {"answer": row["paraphrased_answer"], "learned": row["answer"]}
    return {"question": row["question"], **words, "fact": row["fact"]}


def hallucinates(answer: str, row: Mapping[str, Any]) -> bool:
    """Whether an answer names any value of the kind that a row asks for but the true one."""
    values = KINDS[row["kind"]].values
    named = (value for n in range(len(values)) if (value := values.value(n)) in answer)
    return any(value != row["fact"] for value in named)
