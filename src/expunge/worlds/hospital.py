"""A tree of invented hospitals, and what one part of it says about another: exactly.

Institutions have patients, patients studies, studies four sections (the setting of MedForget, arXiv 2512.09867). A fact
is a value out of as many for each attribute, and is drawn in one of four ways, its class:

    independent   any value is as likely
    inherited     that of the node above: the institution's scanner is every study's device
    repeated      that of another place: the patient's summary quotes the impression of the first study
    correlated    follows the patient's condition: with probability `FOLLOWS` the value typical of it, else any

A cut at a level asks for a node and all below it. What the rest of the tree gives of a forgotten fact is then known
without looking downwards: nothing that depends on it is retained, so only its source, above it, tells anything.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Literal

from expunge.errors import InputError

Kind = Literal["inherited", "repeated", "correlated", "independent"]
KINDS: tuple[Kind, ...] = ("inherited", "repeated", "correlated", "independent")
Level = Literal["institution", "patient", "study", "section"]
LEVELS: tuple[Level, ...] = ("institution", "patient", "study", "section")
SECTIONS = ("examination", "indication", "findings", "impression")
FOLLOWS = Fraction(3, 4)
MOST_VALUES = 8

Node = tuple[int, ...]
"""The way from the root: (institution, patient, study, section); shorter for nodes further up."""


@dataclass(frozen=True)
class Attribute:
    """What is drawn at every node of a level, or in one kind of section.

    Attributes:
        name: of the attribute.
        place: a level, or the section that has it.
        kind: how it is drawn.
        source: the attribute further up that it is drawn from.
    """

    name: str
    place: str
    kind: Kind = "independent"
    source: str | None = None

    @property
    def depth(self) -> int:
        """How long the way to its nodes is."""
        return 4 if self.place in SECTIONS else 1 + LEVELS.index(self.place)


ATTRIBUTES: dict[str, Attribute] = {
    attribute.name: attribute
    for attribute in (
        Attribute("scanner", "institution"),
        Attribute("chief", "institution"),
        Attribute("condition", "patient"),
        Attribute("town", "patient"),
        Attribute("summary", "patient"),
        Attribute("radiologist", "study"),
        Attribute("device", "examination", "inherited", "scanner"),
        Attribute("protocol", "examination"),
        Attribute("complaint", "indication", "correlated", "condition"),
        Attribute("finding", "findings", "correlated", "condition"),
        Attribute("size", "findings"),
        Attribute("diagnosis", "impression", "repeated", "summary"),  # of the first study; independent in the others
    )
}


@dataclass(frozen=True)
class Fact:
    """A fact of the tree: where it is, and what is drawn there."""

    node: Node
    attribute: str

    @property
    def source(self) -> "Fact | None":
        """The fact that it is drawn from."""
        own = ATTRIBUTES[self.attribute]
        if own.source is None or (own.kind == "repeated" and self.node[2] > 0):
            return None
        return Fact(self.node[: ATTRIBUTES[own.source].depth], own.source)

    @property
    def kind(self) -> Kind:
        """Its class."""
        return "independent" if self.source is None else ATTRIBUTES[self.attribute].kind


@dataclass(frozen=True)
class Shape:
    """How large the tree is; a section is four to a study.

    Attributes:
        institutions: that are learned; one more never is, from which the holdout is taken.
        patients: of each institution.
        studies: of each patient.
        values: that an attribute can have.
    """

    institutions: int = 4
    patients: int = 3
    studies: int = 2
    values: int = MOST_VALUES

    def __post_init__(self) -> None:
        if min(self.institutions, self.patients, self.studies) < 1 or not 2 <= self.values <= MOST_VALUES:
            raise InputError(f"A hospital world needs one of each, and 2 to {MOST_VALUES} values: {self}.")

    def nodes(self, level: Level, institutions: Sequence[int]) -> Iterator[Node]:
        """The nodes of a level in some institutions, in order."""
        sizes = (institutions, range(self.patients), range(self.studies), range(len(SECTIONS)))
        return product(*sizes[: 1 + LEVELS.index(level)])

    def facts(self, institutions: Sequence[int]) -> Iterator[Fact]:
        """Every fact in some institutions, sources before what is drawn from them."""
        for level in LEVELS:
            for node in self.nodes(level, institutions):
                place = SECTIONS[node[3]] if level == "section" else level
                yield from (Fact(node, a.name) for a in ATTRIBUTES.values() if a.place == place)


Choose = Callable[[Sequence[Fraction]], int]
"""Told the chances, which sum to 1: which one it is. All randomness of the facts goes through it."""


def draw(shape: Shape, institutions: Sequence[int], choose: Choose) -> dict[Fact, int]:
    """Draw the number of every fact's value."""
    values: dict[Fact, int] = {}
    for fact in shape.facts(institutions):
        values[fact] = choose(chances(fact, shape.values, values))
    return values


def chances(fact: Fact, count: int, known: Mapping[Fact, int]) -> list[Fraction]:
    """The probability of each of the `count` values of a fact, given all values of the rest of the tree.

    Args:
        fact: not among the known ones.
        count: values that it can have.
        known: values of other facts. For the answer to be exact, nothing drawn from `fact` may be among them, as is so
            while drawing (what is above is known) and after a cut (what is not below is).
    """
    source = None if fact.source is None else known.get(fact.source)
    follows = Fraction(0) if source is None else FOLLOWS if fact.kind == "correlated" else Fraction(1)
    return [(1 - follows) / count + (follows if value == source else 0) for value in range(count)]


@dataclass(frozen=True)
class Cut:
    """A request: nodes to be forgotten with all below them, and as many never learned."""

    level: Level
    forget: tuple[Node, ...]
    holdout: tuple[Node, ...]

    def relation(self, node: Node) -> str:
        """What a node is to those that are forgotten: forget, ancestor, sibling (or below one), or other."""
        if any(node[: len(cut)] == cut for cut in self.forget):
            return "forget"
        if any(cut[: len(node)] == node for cut in self.forget):
            return "ancestor"
        beside = (node[: len(cut) - 1] == cut[:-1] and len(node) >= len(cut) for cut in self.forget)
        return "sibling" if any(beside) else "other"


def cut(shape: Shape, level: Level) -> Cut:
    """The cut at a level: its first node; of sections one of each kind, of different patients where there are so many.

    A single section has one fact or two, too few to measure anything on.
    """
    never = shape.institutions
    if level != "section":
        below = (0,) * LEVELS.index(level)
        return Cut(level, ((0, *below),), ((never, *below),))
    patients = [(k // shape.patients % shape.institutions, k % shape.patients) for k in range(len(SECTIONS))]
    forget = tuple((*patient, 0, section) for section, patient in enumerate(patients))
    return Cut(level, forget, tuple((never, *node[1:]) for node in forget))


@dataclass(frozen=True)
class Hospital:
    """A drawn world: the number of each fact's value, those of the institution that is never learned included."""

    shape: Shape
    seed: int
    values: Mapping[Fact, int]

    def given(self, fact: Fact, cut: Cut) -> list[Fraction]:
        """The chances of a fact's values, given everything that is learned and not forgotten."""
        known = {
            other: value
            for other, value in self.values.items()
            if other.node[0] < self.shape.institutions and cut.relation(other.node) != "forget"
        }
        if fact in known:
            return [Fraction(int(value == known[fact])) for value in range(self.shape.values)]
        return chances(fact, self.shape.values, known)


def make_hospital(shape: Shape = Shape(), seed: int = 0) -> Hospital:
    """Draw a world from a seed."""
    rng = random.Random(f"{seed}/facts")
    institutions = range(shape.institutions + 1)
    values = draw(shape, institutions, lambda weights: rng.choices(range(len(weights)), weights)[0])
    return Hospital(shape, seed, values)
