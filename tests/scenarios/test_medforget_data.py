"""MedForget's published layout, as rows with their images."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tinyvision as vision
from expunge.data.pictures import Picture
from expunge.errors import InputError
from expunge.scenarios.medforget_data import read_published

PICTURE = vision.png(0)


def record(place, *questions):
    names = ("institution_id", "patient_id", "study_id", "section_name")
    return {
        "image": {"bytes": PICTURE, "path": None},
        "image_path": "/".join(place),
        "metadata": json.dumps([{"Question": q, "Answer": f"Answer to {q}"} for q in questions]),
        "hierarchy_metadata": json.dumps(dict(zip(names, place, strict=False))),
        "ID": "-".join(place),
    }


@pytest.fixture
def published(tmp_path):
    def write(level, **parts):
        folder = tmp_path / f"{level}_level"
        folder.mkdir(exist_ok=True)
        for part, records in parts.items():
            pq.write_table(pa.Table.from_pylist(records), folder / f"{part}_set_all.parquet")
        return tmp_path

    return write


def test_every_question_is_a_row_and_siblings_are_named(published):
    folder = published(
        "patient",
        forget=[record(("h1", "p1", "s1"), "a?", "b?"), record(("h1", "p1", "s2", "FINDINGS"), "c?")],
        retain=[record(("h1", "p2", "s3"), "d?"), record(("h2", "p3", "s4"), "e?")],
    )
    found = read_published(folder, "patient")
    assert [row.prompt for row in found["forget"]] == ["a?", "b?", "c?"]
    assert all(row.turns[0].pictures == (Picture(PICTURE),) for part in found.values() for row in part)
    assert found["forget"][2].completion == "Answer to c?"
    assert [row.columns["node"] for row in found["forget"]] == ["h1 / p1 / s1"] * 2 + ["h1 / p1 / s2 / FINDINGS"]
    assert {row.columns["relation"] for row in found["forget"]} == {"forget"}
    assert [(row.prompt, row.columns["relation"]) for row in found["retain"]] == [("d?", "sibling"), ("e?", "other")]
    assert found["retain"][0].columns["ID"] == "h1-p2-s3"


@pytest.mark.parametrize(("level", "related"), [("institution", "sibling"), ("study", "other")])
def test_which_rows_are_siblings_depends_on_the_level(published, level, related):
    records = {"forget": [record(("h1", "p1", "s1"), "a?")], "retain": [record(("h2", "p2", "s3"), "d?")]}
    found = read_published(published(level, **records), level)
    assert found["retain"][0].columns["relation"] == related


def test_what_is_not_as_published_is_named(published):
    whole = record(("h1", "p1", "s1"), "a?")
    with pytest.raises(InputError, match=r"study_level.forget_set_all\.parquet: no such file"):
        read_published(published("study"), "study")
    for column, value, message in (
        ("metadata", "[{", r"row 0: column 'metadata' is not JSON"),
        ("metadata", "{}", r"row 0: column 'metadata' must be a JSON list"),
        ("metadata", '[{"Question": "a?"}]', r"row 0: .*'Question' and 'Answer'"),
        ("image", {"bytes": b"png", "path": None}, r"row 0: column 'image': its picture cannot be read"),
        ("hierarchy_metadata", '{"institution_id": "h1"}', r"row 0: .*no 'patient_id'"),
    ):
        folder = published("study", forget=[{**whole, column: value}], retain=[whole])
        with pytest.raises(InputError, match=message):
            read_published(folder, "study")
