"""A corpus about invented people, made from a seed, with the exact fact behind every answer.

The folder `write_world` makes has TOFU's layout, so that everything that works on the one works on the other:

    full                      what the target model learns: all people but the holdout, and the common knowledge
    forget10                  the people to be forgotten (here ten percent)
    retain90                  `full` without them: what the retain model learns
    holdout10                 as many people as are forgotten, whom no model ever learns
    forget10_perturbed        the same rows with paraphrase, wrong answers and rephrased question;
    holdout10_perturbed       so for the holdout
    retain_perturbed          and for a sample of the people who are kept
    real_authors_perturbed    common knowledge: who made what (invented people whom everybody knows)
    world_facts_perturbed     common knowledge: countries of an invented world
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.files import whole_folder
from expunge.worlds.pools import PEOPLE
from expunge.worlds.wording import ATTRIBUTES, FAMOUS, WORLD, Attribute, Lookup

Record = dict[str, Any]

WRONG_ANSWERS = 5
THINGS = 5  # per kind of common knowledge: 25 world facts and 20 works of well-known people
RETAIN_SAMPLE = 3  # retain_perturbed has this many kept people for each forgotten one, where there are as many


@dataclass(frozen=True)
class World:
    """Rows with every column, by group. Rows of one person stand together, in the order of `ATTRIBUTES`."""

    forget: list[Record]
    retain: list[Record]
    holdout: list[Record]
    famous: list[Record]
    world: list[Record]
    forget_percent: int

    @property
    def files(self) -> dict[str, list[Record]]:
        """The rows of each file of the folder, by configuration name."""
        percent, common = self.forget_percent, [_learned(row) for row in self.famous + self.world]
        forget, retain, holdout = ([_learned(row) for row in rows] for rows in (self.forget, self.retain, self.holdout))
        return {
            "full": forget + retain + common,
            f"forget{percent:02d}": forget,
            f"retain{100 - percent:02d}": retain + common,
            f"holdout{percent:02d}": holdout,
            f"forget{percent:02d}_perturbed": self.forget,
            f"holdout{percent:02d}_perturbed": self.holdout,
            "retain_perturbed": self.retain[: RETAIN_SAMPLE * len(self.forget)],
            "real_authors_perturbed": self.famous,
            "world_facts_perturbed": self.world,
        }


def make_world(people: int = 20, forget_percent: int = 10, seed: int = 0) -> World:
    """Invent people and a world. The same arguments give the same rows.

    Facts differ between people as long as the pool of values lasts; the smallest has 216 values.

    Args:
        people: How many people the target model learns. The holdout comes on top of them.
        forget_percent: How many percent of them are to be forgotten, rounded, at least one person.
        seed: Decides every name, fact and wording.

    Raises:
        InputError: Nobody would be left to keep, or there are more people than names.
    """
    forgotten = max(1, round(people * forget_percent / 100))
    if not 0 < forget_percent < 100 or forgotten >= people:
        raise InputError(f"Of {people} people, {forget_percent} % cannot be forgotten: somebody must be kept.")
    makers = THINGS * len(FAMOUS) * 2
    needed = people + forgotten + makers
    if needed > len(PEOPLE):
        raise InputError(f"There are names for {len(PEOPLE) - makers} people, holdout included; {needed} are needed.")

    names = PEOPLE.deck(needed, _stream(seed, "names"))
    rows = _biographies(names[: people + forgotten], seed)
    first, last = forgotten * len(ATTRIBUTES), people * len(ATTRIBUTES)
    return World(
        forget=rows[:first],
        retain=rows[first:last],
        holdout=rows[last:],
        famous=[row for kind in FAMOUS for row in _lookups(kind, _take(names, makers // len(FAMOUS)), seed)],
        world=[row for kind in WORLD for row in _lookups(kind, _deck(kind, seed), seed)],
        forget_percent=forget_percent,
    )


def write_world(folder: str | Path, people: int = 20, forget_percent: int = 10, seed: int = 0) -> World:
    """Write a world as a folder in TOFU's layout: JSON Lines files, and a README.md that declares them.

    The same arguments give the same bytes. Arguments and errors are those of `make_world`.
    """
    world = make_world(people, forget_percent, seed)
    write_files(folder, world.files, _readme(world, people, seed))
    return world


def write_cuts(folder: str | Path, people: int, percents: Sequence[int], seed: int = 0) -> dict[int, Path]:
    """Write the same world once for each share of people to be forgotten, like TOFU's 1, 5 and 10 percent.

    Everybody of a smaller cut is in the larger ones too, and what the target model learns is the same in all.

    Args:
        folder: Of a folder for each cut.
        people: As of `make_world`, like `seed`.
        percents: The cuts.

    Returns:
        The folder of each cut, by percent.
    """
    largest = make_world(people, max(percents), seed)
    places = {}
    for percent in percents:
        rows = max(1, round(people * percent / 100)) * len(ATTRIBUTES)
        kept = largest.forget[rows:] + largest.retain
        cut = replace(
            largest, forget=largest.forget[:rows], retain=kept, holdout=largest.holdout[:rows], forget_percent=percent
        )
        places[percent] = Path(folder) / f"forget{percent:02d}"
        write_files(places[percent], cut.files, _readme(cut, people, seed))
    return places


def write_files(folder: str | Path, files: Mapping[str, Sequence[Record]], readme: str | None = None) -> None:
    """Write a folder of JSON Lines, a file for each configuration; the same rows give the same bytes."""
    with whole_folder(folder) as part:
        for name, rows in files.items():
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            (part / f"{name}.json").write_text("".join(lines), encoding="utf-8", newline="\n")
        if readme is not None:
            (part / "README.md").write_text(readme, encoding="utf-8", newline="\n")


def _stream(seed: int, *names: str) -> random.Random:
    """A separate random stream for each purpose: a new kind of row leaves the others as they are."""
    return random.Random("/".join((str(seed), *names)))


def _take(names: list[str], count: int) -> list[str]:
    """Take names off the end of the list."""
    taken = names[-count:]
    del names[-count:]
    return taken


def _deck(kind: Lookup, seed: int) -> list[str]:
    return kind.values.deck(2 * THINGS, _stream(seed, kind.name, "values"))


def _learned(row: Record) -> Record:
    """The columns of a row that is only learned, not scored."""
    return {column: row[column] for column in ("question", "answer", "fact")}


def _biographies(names: list[str], seed: int) -> list[Record]:
    """One row per person and attribute, person by person."""
    decks = {a.name: a.values.deck(2 * len(names) + WRONG_ANSWERS, _stream(seed, a.name)) for a in ATTRIBUTES}
    wording = _stream(seed, "wording")
    return [
        _row(attribute, name, i, decks[attribute.name], wording)
        for i, name in enumerate(names)
        for attribute in ATTRIBUTES
    ]


def _row(attribute: Attribute, name: str, number: int, deck: list[str], rng: random.Random) -> Record:
    """One question about one person.

    Half of the deck are facts of other people and half are facts of nobody: a wrong answer is told from the right one
    by knowing the person, not by having met the words.
    """
    fact = deck[number]
    question, rephrased = rng.sample(attribute.questions, 2)
    answer, paraphrase = rng.sample(attribute.answers, 2)
    wrong = [value for value in _sample_different(deck, WRONG_ANSWERS + 1, rng) if value != fact][:WRONG_ANSWERS]
    return {
        "question": question.format(name),
        "answer": answer.format(name, fact),
        "paraphrased_answer": paraphrase.format(name, fact),
        "perturbed_answer": [paraphrase.format(name, value) for value in wrong],
        "paraphrased_question": rephrased.format(name),
        "fact": fact,
    }


def _sample_different(deck: list[str], count: int, rng: random.Random) -> list[str]:
    """Draw `count` different values from a deck, which has some twice if it is larger than its pool."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        chosen[rng.choice(deck)] = None
    return list(chosen)


def _lookups(kind: Lookup, deck: list[str], seed: int) -> list[Record]:
    """Common knowledge of one kind. The answer is short, as in TOFU; `original_answer` is the sentence."""
    # Kinds about the same things (countries) must agree on which things there are.
    things = kind.things.deck(THINGS, _stream(seed, kind.things.pattern, str(len(kind.things))))
    rng = _stream(seed, kind.name, "wrong")
    return [
        {
            "question": kind.question.format(thing),
            "answer": value,
            "original_answer": kind.answer.format(thing, value),
            "perturbed_answer": rng.sample([other for other in deck if other != value], WRONG_ANSWERS),
            "fact": value,
        }
        for thing, value in zip(things, deck, strict=False)
    ]


def _readme(world: World, people: int, seed: int) -> str:
    """The front matter that `datasets.load_dataset` and `expunge` find the configurations by, and what they are."""
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}.json\n" for name in world.files
    )
    counts = "".join(f"- `{name}`: {len(rows)} rows\n" for name, rows in world.files.items())
    return f"""---
license: apache-2.0
configs:
{configs}---

# An invented world

{people} people, {world.forget_percent} % of them to be forgotten, seed {seed}, written by expunge. All names and facts
are invented. JSON Lines, one configuration per file, in the layout of TOFU (arXiv 2401.06121); `fact` is the exact
string an answer rests on.

{counts}"""
