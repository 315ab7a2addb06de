"""The rows of a hospital world, and its folder.

    full                          what the target model learns: every institution but the last
    forget_LEVEL                  a node of that level and all below it
    retain_LEVEL                  the rest of `full`: what the retain model learns; `relation` says whether a row is of
                                  an ancestor, of a sibling (or below one), or of another node
    holdout_LEVEL                 an equal part of the institution that no model ever learns
    ladder_LEVEL                  open questions on forgotten sections, with more and more context (`rung`)

Every fact is asked for three times: as an open question; as a gap to be filled, with what its node belongs to before
it; and with four choices, with some of that before it, so that questions with context are nothing new to a model.
`probability` is what the rest of the tree gives the right answer in that form, exactly.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from expunge.files import whole_folder
from expunge.worlds.hospital import (
    ATTRIBUTES,
    LEVELS,
    SECTIONS,
    Cut,
    Fact,
    Hospital,
    Node,
    Shape,
    cut,
    make_hospital,
)
from expunge.worlds.hospital_words import CHOICES, HEADER, WORDS
from expunge.worlds.pools import DAYS, MONTHS, PEOPLE, TOWN

Record = dict[str, Any]
Task = Literal["open", "cloze", "choice"]
TASKS: tuple[Task, ...] = ("open", "cloze", "choice")
OPTIONS = 4
RUNGS = ("bare question", "+ institution", "+ patient", "+ study date", "+ retained sibling sections")
SIBLINGS = 3  # at most so many sections are quoted


@dataclass(frozen=True)
class Rows:
    """The rows of a world."""

    world: Hospital

    @property
    def shape(self) -> Shape:
        return self.world.shape

    @cached_property
    def _names(self) -> dict[Node, dict[str, str]]:
        """How each node is called: by name, patients too; a study by its number, and its date."""
        rng = random.Random(f"{self.world.seed}/names")
        everywhere = range(self.shape.institutions + 1)
        hospitals, patients, studies = (list(self.shape.nodes(level, everywhere)) for level in LEVELS[:3])
        numbers = [f"S-{number}" for number in rng.sample(range(1000, 10000), len(studies))]
        names: dict[Node, dict[str, str]] = {}
        for node, name in zip(hospitals, TOWN.deck(len(hospitals), rng), strict=True):
            names[node] = {"institution": f"{name} Hospital"}
        for node, name in zip(patients, PEOPLE.deck(len(patients), rng), strict=True):
            names[node] = names[node[:1]] | {"patient": name}
        for node, number in zip(studies, numbers, strict=True):
            date = f"{rng.choice(DAYS.split())} {rng.choice(MONTHS.split())} {2010 + node[2]}"
            names[node] = names[node[:2]] | {"study": number, "date": date}
        return names

    def of(self, fact: Fact, of: Cut | None = None) -> Iterator[Record]:
        """The rows that ask for a fact; what the rest of the tree gives of it is a column where there is a cut."""
        for task in TASKS:
            yield self._row(fact, task, of)

    def _row(self, fact: Fact, task: Task, of: Cut | None) -> Record:
        words, mine = WORDS[fact.attribute], self.world.values[fact]
        form = words.answer if task == "open" else "{}"
        options = self._options(fact) if task == "choice" else list(range(self.shape.values))
        row: Record = {
            "question": self._asked(fact, task, options),
            "answer": form.format(words.values[mine]),
            "fact": words.values[mine],
            "perturbed_answer": [form.format(words.values[i]) for i in options if i != mine],
            "attribute": fact.attribute,
            "class": fact.kind,
            "level": LEVELS[len(fact.node) - 1],
            "task": task,
            "node": self.called(fact.node),
        }
        if of is None:
            return row
        given = self.world.given(fact, of)
        among = sum((given[i] for i in options), Fraction(0))
        return row | {"relation": of.relation(fact.node), "probability": float(given[mine] / among)}

    def _asked(self, fact: Fact, task: Task, options: Sequence[int]) -> str:
        """What is asked for a fact, with these values to choose from."""
        words = WORDS[fact.attribute]
        question = words.question.format(**self._names[fact.node[:3]])
        if task == "cloze":
            return self._header(fact.node, len(HEADER)) + words.cloze
        if task == "choice":
            told = random.Random(f"{self.world.seed}/{fact.node}/header").randrange(len(HEADER) + 1)
            choices = CHOICES.format(question=question, options=", ".join(words.values[i] for i in options))
            return self._header(fact.node, told) + choices
        return question

    def _options(self, fact: Fact) -> list[int]:
        """The right value and others, drawn from all others alike, in any order: they tell nothing of the right one."""
        rng = random.Random(f"{self.world.seed}/{fact.node}/{fact.attribute}")
        others = [i for i in range(self.shape.values) if i != self.world.values[fact]]
        options = [self.world.values[fact], *rng.sample(others, min(OPTIONS, self.shape.values) - 1)]
        rng.shuffle(options)
        return options

    def called(self, node: Node) -> str:
        """A node's name with those of the nodes above it."""
        named = self._names[node[:3]]
        parts = [named[key] for key in ("institution", "patient", "study") if key in named]
        return " / ".join([*parts, *(SECTIONS[i] for i in node[3:])])

    def _header(self, node: Node, parts: int) -> str:
        """What a question's node belongs to, from the institution down: at most so many parts."""
        named = self._names[node[:3]]
        told = [HEADER[i].format(**named) for i in range(min(parts, len(node)))]
        return ", ".join(told) + ". " if told else ""

    def ladder(self, of: Cut) -> Iterator[Record]:
        """Open questions on the forgotten sections, each with the context of every rung."""
        for fact in self.facts(of.forget):
            if len(fact.node) < len(LEVELS):
                continue
            row = self._row(fact, "open", of)
            header = [self._header(fact.node, rung) for rung in range(len(HEADER) + 1)]
            quoted = " ".join(map(self.section, self.siblings(fact, of)))
            for rung, context in enumerate((*header, f"{header[-1]}{quoted} ")):
                yield row | {"question": context + row["question"], "rung": RUNGS[rung]}

    def siblings(self, fact: Fact, of: Cut) -> list[Node]:
        """Retained sections that stand beside a forgotten one: those of its study, else the same of sibling nodes."""
        mine = next(node for node in of.forget if fact.node[: len(node)] == node)
        sizes = (self.shape.institutions, self.shape.patients, self.shape.studies, len(SECTIONS))
        down = (*(0,) * (len(SECTIONS) - 1), fact.node[3])[len(mine) :]
        beside = [(*mine[:-1], i, *down) for i in range(sizes[len(mine) - 1])]
        return [node for node in beside if of.relation(node) != "forget"][:SIBLINGS]

    def section(self, node: Node) -> str:
        """A section as a report has it."""
        place = SECTIONS[node[3]]
        facts = [Fact(node, a.name) for a in ATTRIBUTES.values() if a.place == place]
        told = ", ".join(WORDS[fact.attribute].values[self.world.values[fact]] for fact in facts)
        return f"{place.capitalize()}: {told}."

    def facts(self, below: tuple[Node, ...]) -> Iterator[Fact]:
        """Every fact at some nodes and below them, learned or not, node by node."""
        return (fact for node in below for fact in self.world.values if fact.node[: len(node)] == node)

    @property
    def files(self) -> dict[str, list[Record]]:
        """The rows of each file of the folder."""
        learned = [fact for fact in self.world.values if fact.node[0] < self.shape.institutions]
        found = {"full": [row for fact in learned for row in self.of(fact)]}
        for level in LEVELS:
            of = cut(self.shape, level)
            forget = dict.fromkeys(self.facts(of.forget))
            found |= {
                f"forget_{level}": [row for fact in forget for row in self.of(fact, of)],
                f"retain_{level}": [row for fact in learned if fact not in forget for row in self.of(fact, of)],
                f"holdout_{level}": [row for fact in self.facts(of.holdout) for row in self.of(fact, of)],
                f"ladder_{level}": list(self.ladder(of)),
            }
        return found


def write_hospital(folder: str | Path, shape: Shape = Shape(), seed: int = 0) -> Hospital:
    """Write a world as a folder of JSON Lines, which `load_rows` and `datasets` read. The same seed, the same bytes."""
    world = make_hospital(shape, seed)
    files = Rows(world).files
    with whole_folder(folder) as part:
        for name, rows in files.items():
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            (part / f"{name}.json").write_text("".join(lines), encoding="utf-8", newline="\n")
        (part / "README.md").write_text(_readme(world, list(files)), encoding="utf-8", newline="\n")
    return world


def _readme(world: Hospital, names: list[str]) -> str:
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}.json\n" for name in names
    )
    shape = world.shape
    return f"""---
license: apache-2.0
configs:
{configs}---

# Invented hospitals

{shape.institutions} institutions of {shape.patients} patients with {shape.studies} studies of four sections, seed
{world.seed}, written by expunge after the setting of MedForget (arXiv 2512.09867). All names and facts are invented.
`class` says how a fact hangs together with the rest of the tree, `probability` what the rest gives of it.
"""
