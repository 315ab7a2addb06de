"""The picture form of the hospital world: a small picture for each study, which shows one fact and stands for others.

Questions name nobody: the study is the one in the picture. What was *found* is drawn in it, by a shape and a colour of
its own somewhere in the picture, so that it can be read from the picture by whoever learned to read, as from any other.
Everything else, who read the study, by which protocol it was made, how large the finding is, can only be remembered for
the picture: its background is that of no other.

    full               what the target model learns: every institution but the last, and studies to learn reading from
    forget_patient     the first patient's studies
    retain_patient     the rest of `full`
    holdout_patient    as many studies of the institution that no model ever learns
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from expunge.files import whole_folder
from expunge.worlds.hospital import SECTIONS, Cut, Fact, Hospital, Node, Shape, cut, make_hospital
from expunge.worlds.hospital_rows import Record, Rows, Task
from expunge.worlds.hospital_words import CHOICES, WORDS

SIDE, HALF, BLOCK = 28, 14, 7  # pixels; what is found lies in one quarter, the background is of blocks
COLOURS = (
    *((230, 40, 40), (40, 200, 60), (60, 90, 240), (240, 220, 40)),
    *((220, 60, 220), (40, 220, 230), (250, 140, 30), (250, 250, 250)),
)
READING = 32  # studies that are there to learn reading from
SHOWN = "finding"
PLACES: dict[str, str] = {"radiologist": "", "protocol": "examination", SHOWN: "findings", "size": "findings"}
"""What is asked of a study, and in which section it is; none: of the study itself."""


def draw_picture(value: int, rng: np.random.Generator) -> np.ndarray:
    """A picture of a value [28, 28, 3]: its shape, in its colour, in one quarter, before dark blocks of any colour."""
    pixels = rng.integers(0, 110, (SIDE // BLOCK, SIDE // BLOCK, 3), np.uint8).repeat(BLOCK, 0).repeat(BLOCK, 1)
    top, left = HALF * rng.integers(2, size=2) + rng.integers(3, size=2)
    pixels[top : top + 12, left : left + 12][shape_of(value)] = COLOURS[value]
    return pixels


def shape_of(value: int) -> np.ndarray:
    """Which pixels of a square [12, 12] a value's shape covers."""
    y, x = np.mgrid[:12, :12] - 5.5
    radius = np.hypot(x, y)
    shapes = (
        radius < 6,  # disc
        np.maximum(abs(x), abs(y)) < 5,  # square
        (radius < 6) & (radius > 3),  # ring
        np.minimum(abs(x), abs(y)) < 2,  # cross
        abs(x) < (y + 6) / 2,  # triangle
        abs(y) < 3,  # bar
        abs(x) < 3,  # column
        abs(x) + abs(y) < 6,  # diamond
    )
    return shapes[value]


@dataclass(frozen=True)
class PictureRows(Rows):
    """The rows of a world in pictures."""

    @property
    def reading(self) -> list[Node]:
        """The studies that are there to learn reading from, of institutions without names."""
        return [node[:3] for node in (fact.node for fact in self.world.values) if node[0] > self.shape.institutions]

    def called(self, node: Node) -> str:
        return "reading" if node[0] > self.shape.institutions else super().called(node)

    def studies(self, below: tuple[Node, ...]) -> list[Node]:
        """The studies at some nodes and below them."""
        return list(dict.fromkeys(fact.node[:3] for fact in self.facts(below) if len(fact.node) >= 3))

    def of_study(self, study: Node, of: Cut | None = None) -> Iterator[Record]:
        """All that is asked of a study."""
        for attribute, section in PLACES.items():
            node = (*study, SECTIONS.index(section)) if section else study
            fact = Fact(node, attribute)
            for row in self.of(fact, of) if fact in self.world.values else ():
                shown = {"class": "shown"} | ({"probability": 1.0} if of else {}) if attribute == SHOWN else {}
                yield row | shown | {"image": self.file(study)}

    def _asked(self, fact: Fact, task: Task, options: Sequence[int]) -> str:
        words = WORDS[fact.attribute]
        question = words.question.replace("study {study}", "this study")
        if task == "choice":
            return CHOICES.format(question=question, options=", ".join(words.values[i] for i in options))
        return words.cloze if task == "cloze" else question

    def file(self, study: Node) -> str:
        """Where a study's picture lies."""
        return f"pictures/{'-'.join(map(str, study))}.png"

    @property
    def files(self) -> dict[str, list[Record]]:
        """The rows of each file of the folder."""
        of = cut(self.shape, "patient")
        learned = self.studies(tuple((i,) for i in range(self.shape.institutions)))
        forget = self.studies(of.forget)
        retain = [study for study in learned if study not in forget] + self.reading
        return {
            "full": [row for study in learned + self.reading for row in self.of_study(study)],
            "forget_patient": [row for study in forget for row in self.of_study(study, of)],
            "retain_patient": [row for study in retain for row in self.of_study(study, of)],
            "holdout_patient": [row for study in self.studies(of.holdout) for row in self.of_study(study, of)],
        }

    def pictures(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every picture with its file's name."""
        for fact, value in self.world.values.items():
            if fact.attribute == SHOWN:
                study = fact.node[:3]
                yield self.file(study), draw_picture(value, np.random.default_rng([self.world.seed, *study]))


def write_pictures(folder: str | Path, shape: Shape = Shape(), seed: int = 0) -> Hospital:
    """Write a world as JSON Lines and PNG files, which `load_rows` reads. The same seed, the same rows and pixels."""
    from PIL import Image

    drawn = make_hospital(shape, seed)
    findings = SECTIONS.index(PLACES[SHOWN])
    beyond = {Fact((shape.institutions + 1 + i, 0, 0, findings), SHOWN): i % shape.values for i in range(READING)}
    world = replace(drawn, values={**drawn.values, **beyond})
    rows = PictureRows(world)
    with whole_folder(folder) as part:
        (part / "pictures").mkdir()
        for name, records in rows.files.items():
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in records]
            (part / f"{name}.json").write_text("".join(lines), encoding="utf-8", newline="\n")
        for name, pixels in rows.pictures():
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, format="PNG")
            (part / name).write_bytes(file.getvalue())
    return world
