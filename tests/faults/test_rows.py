"""Files of rows, whole and mangled: each is read right or refused with its name; nothing is read from other folders."""

import csv
import io
import json
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import strategies as st

from expunge.data import load_rows
from expunge.data.folders import folder_configurations, folder_files
from expunge.errors import InputError
from faults.fuzz import FEW_AND_MANY, fuzz, refusal

# Characters that end lines somewhere, quote, divide, open formats, or are not quite characters.
ODD = "\u2028\u2029\x85\x0b\x0c\x1c\ufeff\u200b\x00\r\n\t\"',;{}[]\\:#-&*!|>%@`é字𐍈"
TEXT = st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8")), max_size=30).map(lambda t: f"a{t}z")
ROWS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=4)


def as_csv(rows, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator="\r\n").writerows([("question", "answer"), *rows])
    return file.getvalue()


def conversation(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


FORMATS = {
    "qa.jsonl": lambda rows: "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows),
    "raw.jsonl": lambda rows: "\r\n".join(
        json.dumps({"prompt": q, "completion": a}, ensure_ascii=False) for q, a in rows
    ),
    "array.json": lambda rows: json.dumps([{"question": q, "answer": a} for q, a in rows], indent=1),
    "lines.json": lambda rows: "".join(json.dumps({"question": q, "answer": a}) + "\n\n" for q, a in rows),
    "chat.jsonl": lambda rows: "\n".join(json.dumps(conversation(q, a)) for q, a in rows),
    "bom.jsonl": lambda rows: "\ufeff" + "\n".join(json.dumps({"question": q, "answer": a}) for q, a in rows),
    "comma.csv": lambda rows: as_csv(rows, ","),
    "semicolon.csv": lambda rows: as_csv(rows, ";"),
    "tab.csv": lambda rows: "\ufeff" + as_csv(rows, "\t"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("rows")


def read(file: Path):
    """The rows; or nothing, where a message refuses them that names the file."""
    if (message := refusal(lambda: load_rows(file))) is None:
        return load_rows(file)
    assert str(file) in message
    assert len(message) < 2000
    return []


@pytest.mark.fault("rows, whole")
@FEW_AND_MANY
def test_what_was_written_is_read(examples, place, record_property):
    def check(example):
        name, rows = example
        (place / name).write_text(FORMATS[name](rows), encoding="utf-8", newline="")
        found = load_rows(place / name)
        assert [(row.prompt, row.completion) for row in found] == rows

    fuzz(st.tuples(st.sampled_from(list(FORMATS)), ROWS), check, examples, record_property)


# What is done to a whole file: bytes cut off, taken out, put in, or put somewhere else.
BYTES = st.one_of(
    st.binary(min_size=1, max_size=8), st.sampled_from([b'"', b"\\u", b"\\ud800", b"{", b"]", b",", b"\n"])
)
DAMAGE = st.tuples(st.sampled_from(["cut", "out", "in", "over"]), st.floats(0, 1), st.integers(1, 20), BYTES)


def damaged(content: bytes, damages) -> bytes:
    for kind, where, length, new in damages:
        at = int(where * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "out":
            content = content[:at] + content[at + length :]
        elif kind == "in":
            content = content[:at] + new + content[at:]
        else:
            content = content[:at] + new + content[at + len(new) :]
    return content


@pytest.mark.fault("rows, mangled")
@FEW_AND_MANY
def test_a_mangled_file_is_read_or_refused(examples, place, record_property):
    def check(example):
        name, rows, damages = example
        (place / name).write_bytes(damaged(FORMATS[name](rows).encode(), damages))
        for row in read(place / name):
            assert row.completion.strip()
            row.completion.encode()

    damages = st.lists(DAMAGE, min_size=1, max_size=3)
    fuzz(st.tuples(st.sampled_from(list(FORMATS)), ROWS, damages), check, examples, record_property)


LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    TEXT,
    st.sampled_from(["", " ", "user", "[]"]),
)
TURN = st.dictionaries(
    st.sampled_from(["role", "content", "name"]),
    st.one_of(st.sampled_from(["user", "assistant", "system", "tool"]), LEAF),
)
JSON = st.recursive(
    st.one_of(LEAF, TURN),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
COLUMNS = ["question", "answer", "prompt", "completion", "messages", "text", "perturbed_answer", "paraphrased_answer"]
RECORDS = st.lists(st.one_of(st.dictionaries(st.sampled_from(COLUMNS), JSON, max_size=5), JSON), max_size=3)


def answer_of(record):
    """The completion of a record that can be read."""
    if "prompt" in record and "completion" in record:
        answer = record["completion"]
    elif "question" in record and "answer" in record:
        answer = record["answer"]
    else:
        answer = record.get("messages", record.get("text"))
    return answer if isinstance(answer, str) else answer[-1]["content"]


@pytest.mark.fault("rows of strange values")
@FEW_AND_MANY
def test_values_of_any_kind_are_read_or_refused(examples, place, record_property):
    def check(records):
        (place / "strange.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
        rows = read(place / "strange.jsonl")
        for row, record in zip(rows, records, strict=bool(rows)):
            assert row.completion == answer_of(record)

    fuzz(RECORDS, check, examples, record_property)


OUTSIDE = [
    "../secret.jsonl",
    "/etc/passwd",
    "a/../../secret.jsonl",
    "**/../../*",
    "..",
    "~",
    "C:\\x",
    "\0",
    "",
    "*",
    ".",
]
PATTERN = st.one_of(st.sampled_from([*OUTSIDE, "rows.jsonl", "*.jsonl", "[", "**"]), TEXT)
FILES = st.one_of(
    PATTERN,
    st.lists(PATTERN, max_size=2),
    st.lists(st.fixed_dictionaries({"split": st.sampled_from(["train", "test", 3]), "path": PATTERN}), max_size=2),
    JSON,
)
CONFIGURATION = st.fixed_dictionaries(
    {"config_name": st.one_of(st.sampled_from(["a", "b"]), JSON), "data_files": FILES}
)
FRONT = st.one_of(
    st.fixed_dictionaries({"configs": st.lists(CONFIGURATION, max_size=3)}).map(
        lambda value: yaml.safe_dump(value, allow_unicode=True)
    ),
    st.text(st.one_of(st.sampled_from(ODD + "configs data_files"), st.characters(codec="utf-8")), max_size=60),
    st.sampled_from(
        [
            "configs: &a [*a]",
            "? [a]\n: b",
            "configs: !!python/object/apply:os.getcwd []",
            "a: " + "[" * 2000,
            "configs: 2025-13-45",
            "x: &x [a,a]\ny: &y [*x,*x]\nconfigs: [*y,*y]",
            "configs:\n  - {config_name: a, data_files: [{split: train, path: 5}]}",
        ]
    ),
)


@pytest.mark.fault("front matter")
@FEW_AND_MANY
def test_front_matter_never_leads_out_of_its_folder(examples, place, record_property):
    folder = place / "folder"
    folder.mkdir(exist_ok=True)
    row = json.dumps({"question": "Who?", "answer": "Ada."})
    (folder / "rows.jsonl").write_text(row)
    (place / "secret.jsonl").write_text(row)

    def check(front):
        (folder / "README.md").write_text(f"---\n{front}\n---\n# Rows\n", encoding="utf-8")
        if message := refusal(lambda: folder_configurations(folder)):
            assert "README.md" in message
            return
        for name in folder_configurations(folder):
            refusal(partial(load_rows, f"{folder}:{name}"))
            with suppress(InputError):
                files = folder_files(folder, name, None)
                assert all(file.resolve().is_relative_to(folder.resolve()) for file in files)

    fuzz(FRONT, check, examples, record_property)
