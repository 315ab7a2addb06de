"""The picture world: what is drawn can be read, what is not tells nothing, and no question names anybody."""

import json

import numpy as np
import pytest

from expunge.data import load_rows
from expunge.data.pictures import opened_picture
from expunge.worlds.hospital import Shape
from expunge.worlds.hospital_pictures import COLOURS, PLACES, READING, SIDE, draw_picture, shape_of, write_pictures
from expunge.worlds.hospital_words import WORDS

SHAPE = Shape(2, 2, 2)
FILES = ("full", "forget_patient", "retain_patient", "holdout_patient")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "world"
    write_pictures(folder, SHAPE, seed=3)
    return folder


def seen(pixels):
    """Which value is drawn in a picture, by a reader that knows nothing of the drawing but shapes and colours."""
    found = []
    for value, colour in enumerate(COLOURS):
        where = (pixels == colour).all(-1)
        y, x = np.nonzero(where)
        if len(y) and where.sum() == shape_of(value).sum():
            cut = where[y.min() : y.max() + 1, x.min() : x.max() + 1]
            rows, columns = np.nonzero(shape_of(value))
            whole = shape_of(value)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            found += [value] if np.array_equal(cut, whole) else []
    return found


def test_the_finding_alone_can_be_read(world):
    rows = {name: load_rows(f"{world}:{name}") for name in FILES}
    for row in rows["full"] + rows["holdout_patient"]:
        [picture] = row.turns[0].pictures
        pixels = np.asarray(opened_picture(picture.data))
        assert pixels.shape == (SIDE, SIDE, 3)
        if row.columns["attribute"] == "finding":
            assert [WORDS["finding"].values[value] for value in seen(pixels)] == [row.columns["fact"]]
    for value in range(8):
        assert seen(draw_picture(value, np.random.default_rng(value))) == [value]


def test_questions_name_nobody_and_pictures_are_of_one_study_each(world):
    records = [json.loads(line) for line in (world / "full.json").read_text().splitlines()]
    names = {name for r in records for name in r["node"].split(" / ")[:3]}
    assert all(name not in r["question"] for r in records for name in names if name != "reading")
    nodes = {}
    for record in records:
        nodes.setdefault(record["image"], set()).add(record["node"].split(" / ")[:3][-1])
    assert all(len(each) == 1 for each in nodes.values())
    files = sorted((world / "pictures").iterdir())
    assert len({file.read_bytes() for file in files}) == len(files) == 2 * 2 * 2 + 2 * 2 + READING


def test_the_parts_of_the_world(world):
    rows = {name: load_rows(f"{world}:{name}") for name in FILES}
    each = 3 * len(PLACES)
    assert len(rows["forget_patient"]) == len(rows["holdout_patient"]) == SHAPE.studies * each
    assert len(rows["full"]) == 2 * 2 * 2 * each + 3 * READING
    keys = {name: {row.key for row in members} for name, members in rows.items()}
    assert keys["forget_patient"] | keys["retain_patient"] == keys["full"]
    assert not keys["forget_patient"] & keys["retain_patient"]
    for row in rows["forget_patient"]:
        chance = {"open": 1 / 8, "cloze": 1 / 8, "choice": 1 / 4}[row.columns["task"]]
        assert row.columns["probability"] == (1 if row.columns["class"] == "shown" else chance)


def test_the_same_seed_gives_the_same_world(world, tmp_path):
    write_pictures(tmp_path / "again", SHAPE, seed=3)
    write_pictures(tmp_path / "other", SHAPE, seed=4)
    for file in world.rglob("*"):
        if file.is_file():
            assert (tmp_path / "again" / file.relative_to(world)).read_bytes() == file.read_bytes()
    assert (tmp_path / "other" / "full.json").read_bytes() != (world / "full.json").read_bytes()
