"""Rows with pictures, as people have them: bytes, paths, and parts of messages; read whole, or refused by row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tinymodels as tiny
import tinyvision as vision
from expunge.data import Row, Turn, encode, encode_all, load_rows
from expunge.data.pictures import Picture, opened_picture
from expunge.data.processors import tokenizer_of
from expunge.errors import InputError
from expunge.models import fingerprint_rows

ADA = vision.png(0)
EXPECTED = vision.shown("Who is this?", "Ada.", ADA)
PART = [{"type": "image", "image": "ada.png"}, {"type": "text", "text": "Who is this?"}]
LAYOUTS = {
    "a column of paths": {"question": "Who is this?", "answer": "Ada.", "image": "ada.png"},
    "parts with a path": {"messages": [{"role": "user", "content": PART}, {"role": "assistant", "content": "Ada."}]},
    "a part for the column": {
        "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who is this?"}]}],
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": "Ada."}]}],
        "image": {"bytes": None, "path": "ada.png"},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pictures_are_found_beside_the_file(layout, tmp_path):
    (tmp_path / "ada.png").write_bytes(ADA)
    (tmp_path / "rows.jsonl").write_text(json.dumps(LAYOUTS[layout]) + "\n")
    assert load_rows(tmp_path / "rows.jsonl") == [EXPECTED]


@pytest.mark.parametrize("image", [ADA, {"bytes": ADA, "path": "elsewhere.png"}], ids=["bytes", "as datasets writes"])
def test_pictures_in_parquet(image, tmp_path):
    record = {"question": "Who is this?", "answer": "Ada.", "image": image, "more": 1}
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "rows.parquet")
    assert load_rows(tmp_path / "rows.parquet") == [Row(EXPECTED.turns, "Ada.", {"more": 1})]


def test_a_picture_stands_where_its_part_does(tmp_path):
    (tmp_path / "ada.png").write_bytes(ADA)
    parts = [{"type": "text", "text": "Is "}, PART[0], {"type": "text", "text": " Ada?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": "Yes."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    [row] = load_rows(tmp_path / "rows.jsonl")
    assert row == Row((Turn("user", "Is  Ada?", (Picture(ADA, 3),)),), "Yes.")
    tokenizer = tokenizer_of(vision.llava()[1])
    ids = encode(tokenizer, row).ids
    assert tokenizer.decode(ids) == f"<|user|>Is {'<image>' * 16} Ada?<|end|>\n<|assistant|>Yes.<|end|>"


BROKEN = {
    "missing": ({"image": "nobody.png"}, "row 1: column 'image': there is no picture 'nobody.png'"),
    "cut off": ({"image": "cut.png"}, "row 1: column 'image': its picture cannot be read"),
    "no picture": ({"image": "rows.jsonl"}, "row 1: column 'image': its picture cannot be read"),
    "a number": ({"image": 7}, "row 1: column 'image': a picture must be given as bytes"),
    "a part of the answer": (
        {"question": [{"role": "user", "content": "?"}], "answer": [{"role": "assistant", "content": PART}]},
        "row 1: a picture in the answer",
    ),
    "a part without one": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, {"role": "assistant", "content": "A."}]},
        "row 1: turn 0: an image part without a picture",
    ),
    "a part of another kind": (
        {"messages": [{"role": "user", "content": [{"type": "video"}]}, {"role": "assistant", "content": "A."}]},
        "row 1: turn 0: a part must be",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_refused_by_row(name, tmp_path):
    given, message = BROKEN[name]
    (tmp_path / "ada.png").write_bytes(ADA)
    (tmp_path / "cut.png").write_bytes(ADA[:600])
    good = {"question": "Who?", "answer": "Ada.", "image": "ada.png"}
    bad = given if "messages" in given else {"question": "Who?", "answer": "Ada.", **given}
    (tmp_path / "rows.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    with pytest.raises(InputError, match=message):
        load_rows(tmp_path / "rows.jsonl")


def test_plain_text_has_no_place_for_a_picture(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"text": "Ada.", "image": ADA}]), tmp_path / "rows.parquet")
    with pytest.raises(InputError, match="row 0: plain text has no place for a picture"):
        load_rows(tmp_path / "rows.parquet")


def test_another_picture_is_another_row():
    other = vision.shown("Who is this?", "Ada.", vision.png(1))
    assert EXPECTED.key != other.key
    assert fingerprint_rows([EXPECTED]) != fingerprint_rows([other])
    assert fingerprint_rows([EXPECTED]) == fingerprint_rows([vision.shown("Who is this?", "Ada.", vision.png(0))])


@pytest.mark.parametrize("family", vision.FAMILIES)
def test_token_ids_are_those_of_the_models_own_processor(family):
    processor = vision.FAMILIES[family]()[1]
    rows = vision.FORGET + vision.RETAIN
    for row, encoded in zip(rows, encode_all(tokenizer_of(processor), [(row, None) for row in rows]), strict=True):
        pictures = [opened_picture(picture.data) for turn in row.turns for picture in turn.pictures]
        parts = [*({"type": "image"} for _ in pictures), {"type": "text", "text": row.prompt}]
        messages = [{"role": "user", "content": parts}]
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
        whole = prompt + row.completion + "<|end|>"
        given = {"images": [pictures] if pictures else None, "add_special_tokens": False}
        assert encoded.ids == tuple(processor(text=[whole], **given)["input_ids"][0])
        assert encoded.start == len(processor(text=[prompt], **given)["input_ids"][0])


def test_text_must_not_contain_the_token_of_pictures_nor_a_text_model_be_given_one(tokenizer):
    words = tokenizer_of(vision.llava()[1])
    for row in (tiny.qa("Who is <image>?", "Ada."), vision.shown("Who?", "An <image>.", ADA)):
        with pytest.raises(InputError, match="text must not contain it"):
            encode(words, row)
    with pytest.raises(InputError, match="this model takes none"):
        encode(tokenizer, EXPECTED)
