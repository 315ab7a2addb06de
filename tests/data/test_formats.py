"""Files as people have them: each is read as it stands, or refused by file, row and column."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expunge.cli.main import main
from expunge.data import Row, Turn, configurations, load_rows
from expunge.errors import InputError

ADA = {"question": "Who?", "answer": "Ada."}


def row(answer, question="Who?", **columns):
    return Row((Turn("user", question),), answer, columns)


GOOD_CSV = {
    "a byte order mark": ("\ufeffquestion,answer\nWho?,Ada.\n", [row("Ada.")]),
    "semicolons": ("question;answer\nWho?;Ada, of Tarn.\n", [row("Ada, of Tarn.")]),
    "tabs": ("question\tanswer\nWho?\tAda; or Eve, of Tarn.\n", [row("Ada; or Eve, of Tarn.")]),
    "a quoted comma": ('question,answer\n"Who, then?","Ada, ""the"" poet."\n', [row('Ada, "the" poet.', "Who, then?")]),
    "a newline in quotes": ('question,answer\nWho?,"Ada.\nEve.\r\nDan."\n', [row("Ada.\nEve.\r\nDan.")]),
    "line separators in text": (
        "question,answer\nWho?,Ada\u2028Eve\u2029Dan\x85\x0b\x0c\x1cBob.\nWhere?,Tarn.\n",
        [row("Ada\u2028Eve\u2029Dan\x85\x0b\x0c\x1cBob."), row("Tarn.", "Where?")],
    ),
    "empty lines and carriage returns": (
        "question,answer\r\n\r\nWho?,Ada.\r\n\r\nWhere?,Tarn.",
        [row("Ada."), row("Tarn.", "Where?")],
    ),
    "a delimiter in a quoted name": ('"question",answer,"a;b"\nWho?,Ada.,x\n', [row("Ada.", **{"a;b": "x"})]),
    "one column": ("text\nAda.\n", [Row((), "Ada.")]),
    "a long cell": ("text\n" + "Ada. " * 50_000 + "\n", [Row((), "Ada. " * 50_000)]),
    "a quote inside a word": ('question,answer\nWho?,Ada "Q" Quill.\n', [row('Ada "Q" Quill.')]),
}


@pytest.mark.parametrize("name", GOOD_CSV)
def test_csv_as_it_stands(name, tmp_path):
    text, expected = GOOD_CSV[name]
    (tmp_path / "rows.csv").write_bytes(text.encode())
    limit = csv.field_size_limit()
    assert load_rows(tmp_path / "rows.csv") == expected
    assert csv.field_size_limit() == limit


GOOD_JSON = {
    "a byte order mark": ("\ufeff" + json.dumps(ADA) + "\n", [row("Ada.")]),
    "an array with a byte order mark": ("\ufeff\n " + json.dumps([ADA]), [row("Ada.")]),
    "files put together": (f"\ufeff{json.dumps(ADA)}\n\ufeff{json.dumps(ADA)}", [row("Ada."), row("Ada.")]),
    "line separators in text": (
        '{"question": "Who?", "answer": "Ada\u2028Eve\u2029\x85."}\n\r\n{"question": "Who?", "answer": "B"}\r\n',
        [row("Ada\u2028Eve\u2029\x85."), row("B")],
    ),
    "one object over several lines": (json.dumps(ADA, indent=2) + "\n", [row("Ada.")]),
    "pairs of surrogates": (r'{"question": "Who?", "answer": "\ud83d\ude00 \\ud83d"}', [row("😀 \\ud83d")]),
    "a large integer": ('{"question": "Who?", "answer": "A", "id": ' + "9" * 300 + "}", [row("A", id=int("9" * 300))]),
    "null elsewhere": ('{"question": "Who?", "answer": "A", "n": null, "fact": null}', [row("A", n=None, fact=None)]),
    "fewer levels than too many": (
        '{"question": "Who?", "answer": "A", "n": ' + "[" * 30 + "]" * 30 + "}",
        [row("A", n=json.loads("[" * 30 + "]" * 30))],
    ),
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("name", GOOD_JSON)
def test_json_as_it_stands(name, suffix, tmp_path):
    text, expected = GOOD_JSON[name]
    (tmp_path / f"rows{suffix}").write_bytes(text.encode())
    assert load_rows(tmp_path / f"rows{suffix}") == expected


def line(**columns):
    return json.dumps({**ADA, **columns})


def messages(*turns):
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


ASK = ("user", "Who?")
# name of the file, its text, and what the message must name beside the file
BAD = {
    "commas unquoted": ("a.csv", "question,answer\nWho?,Ada.\nWho, then?,Ada.\n", ["row 1", "3 cells", "2 columns"]),
    "one cell too few": ("a.csv", "question,answer,fact\nWho?,Ada.\n", ["row 0", "2 cells", "3 columns"]),
    "a comma in a passage": ("a.csv", "text\nAda, of Tarn.\n", ["row 0", "2 cells", "1 columns"]),
    "two delimiters": ("a.csv", "question,answer;fact\nWho?,Ada.;A\n", ["','", "';'", "double quotes"]),
    "a quote that does not end": ("a.csv", 'question,answer\nWho?,"Ada.\nWhere?,Tarn.\n', ["line 3", "truncated"]),
    "text after a quote": ("a.csv", 'question,answer\nWho?,"Ada" Quill\n', ["line 2"]),
    "a column twice": ("a.csv", "question,answer,answer\nWho?,Ada.,Eve.\n", ["several columns 'answer'"]),
    "an empty file": ("a.csv", "", ["no rows"]),
    "an empty answer": ("a.csv", "question,answer\nWho?,\n", ["row 0", "'answer'", "not empty"]),
    "a list in a cell": (
        "a.csv",
        "question,answer,perturbed_answer\nWho?,Ada.,\"['Eve.', 'Dan.']\"\n",
        ["row 0", "'perturbed_answer'", "JSON Lines or Parquet"],
    ),
    "messages in a cell": ("a.csv", 'messages\n"[{}]"\n', ["row 0", "'messages'", "list", "not text"]),
    "latin-1": ("a.csv", "question,answer\nWho?,Zoë\n".encode("latin-1"), ["not UTF-8", "Save it as UTF-8"]),
    "utf-16": ("a.json", line().encode("utf-16"), ["not UTF-8"]),
    "half a surrogate pair": (
        "a.jsonl",
        line() + "\n" + r'{"question": "Who?", "answer": "\ud800"}',
        ["line 2", "surrog"],
    ),
    "half a pair in a key": (
        "a.jsonl",
        r'{"question": "Who?", "answer": "A", "n": [{"\uDC00": 1}]}',
        ["line 1", "surrog"],
    ),
    "deep nesting": ("a.jsonl", line() + '\n{"n": ' + "[" * 100_000, ["line 2", "levels"]),
    "deep nesting in an array": ("a.json", "[" * 100_000, ["levels"]),
    "nesting deeper than any row": (
        "a.json",
        '{"question": "Q", "answer": "A", "n": ' + "[" * 90 + "]" * 90 + "}",
        ["row 0"],
    ),
    "a huge integer": ("a.jsonl", '{"question": "Q", "answer": "A", "n": ' + "9" * 5000 + "}", ["line 1", "integer"]),
    "a huge number": ("a.jsonl", '{"question": "Q", "answer": "A", "n": 1e999}', ["line 1", "1e999"]),
    "NaN": ("a.jsonl", line() + '\n{"question": "Q", "answer": "A", "n": NaN}', ["line 2", "NaN", "null"]),
    "a key twice": ("a.jsonl", '{"question": "Q", "answer": "A", "answer": "B"}', ["line 1", "'answer' comes twice"]),
    "a key twice inside": ("a.json", '[{"question": "Q", "answer": "A", "n": {"b": 1, "b": 2}}]', ["'b' comes twice"]),
    "no objects": ("a.json", '["Who?", "Ada."]', ["row 0", "not str"]),
    "truncated": ("a.json", json.dumps([ADA, ADA], indent=1)[:-9], ["line", "truncated"]),
    "truncated lines": ("a.jsonl", line() + "\n" + line()[:-9], ["line 2", "truncated"]),
    "null answer": ("a.jsonl", line(answer=None), ["row 0", "'answer' must be text, not null"]),
    "empty answer": (
        "a.jsonl",
        line() + "\n" + line(answer=" \n"),
        ["row 1", "'answer' must be text that is not empty"],
    ),
    "empty question": ("a.jsonl", line(question=""), ["row 0", "'question'", "not empty"]),
    "empty list of questions": ("a.jsonl", line(question=[]), ["row 0", "'question' must end with a user turn"]),
    "list of texts": ("a.jsonl", line(question=["Who?"]), ["row 0", "'question', turn 0", "not text"]),
    "two answers": (
        "a.jsonl",
        line(answer=[{"role": "assistant", "content": "A"}] * 2),
        ["'answer'", "one assistant turn"],
    ),
    "an answer by the user": ("a.jsonl", line(answer=[{"role": "user", "content": "A"}]), ["'answer'", "assistant"]),
    "an object": ("a.jsonl", line(answer={"text": "Ada."}), ["row 0", "'answer' must be text, not an object"]),
    "a truth value": ("a.jsonl", line(answer=True), ["'answer' must be text, not true or false"]),
    "no columns": ("a.jsonl", '{"q": "Who?", "a": "Ada."}', ["row 0", "'a', 'q'", "'question' and 'answer'"]),
    "no messages": ("a.jsonl", '{"messages": []}', ["row 0", "'messages' must end with an assistant turn"]),
    "null messages": ("a.jsonl", '{"messages": null}', ["row 0", "'messages' must be a list", "not null"]),
    "null content": (
        "a.jsonl",
        messages(ASK, ("assistant", None)),
        ["'messages', turn 1, 'content' must be text, not null"],
    ),
    "list content": (
        "a.jsonl",
        messages(ASK, ("assistant", [{"type": "text", "words": "Ada."}])),
        ["row 0", "turn 1: a part must be {'type': 'text', 'text'} or {'type': 'image'}"],
    ),
    "no content": ("a.jsonl", '{"messages": [{"role": "user"}]}', ["'messages', turn 0, 'content' is missing"]),
    "an odd role": (
        "a.jsonl",
        messages(("human", "Who?"), ("gpt", "Ada.")),
        ["turn 0, 'role'", "assistant", "'human'"],
    ),
    "no role": ("a.jsonl", messages((None, "Who?"), ("assistant", "A")), ["turn 0, 'role'", "'None'"]),
    "no question": ("a.jsonl", messages(("system", "Be brief."), ("assistant", "Ada.")), ["follows a user turn"]),
    "the answer first": ("a.jsonl", messages(("assistant", "Ada."), ASK), ["must end with an assistant turn"]),
    "a silent turn": ("a.jsonl", messages(("user", " "), ("assistant", "Ada.")), ["turn 0, 'content'", "not empty"]),
    "a wrong answer that is a number": (
        "a.jsonl",
        line(perturbed_answer=["Eve.", 7]),
        ["row 0", "'perturbed_answer', item 1 must be text, not a number"],
    ),
    "a paraphrase that is a list": ("a.jsonl", line(paraphrased_answer=["A"]), ["'paraphrased_answer'", "not a list"]),
    "a foreign Parquet file": ("a.parquet", "question,answer\nWho?,Ada.\n", ["not a whole Parquet file"]),
}


def bad_file(tmp_path, name):
    file, content, said = BAD[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path, [file, *said]


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_by_the_command_line(name, tmp_path, model_folder, monkeypatch, capsys):
    path, said = bad_file(tmp_path, name)
    words = ["loss", "--model", str(model_folder), "--forget", str(path), "--objective", "GA"]
    monkeypatch.setattr("sys.argv", ["expunge", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert "Traceback" not in error
    assert error.count("\n") == 1
    for part in said:
        assert part in error


@pytest.fixture
def parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist([ADA] * 1000), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.mark.parametrize("kept", [0, 3, 4, 100, -1, -9])
def test_a_truncated_parquet_file_is_refused(parquet, kept):
    parquet.write_bytes(parquet.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"rows\.parquet: not a whole Parquet file"):
        load_rows(parquet)


def test_a_damaged_parquet_file_is_refused(parquet):
    content = bytearray(parquet.read_bytes())
    for place in range(40, len(content) - 40, 7):
        content[place] ^= 0xFF
    parquet.write_bytes(content)
    with pytest.raises(InputError, match=r"rows\.parquet"):
        load_rows(parquet)


def test_parquet_with_other_types(tmp_path):
    table = pa.table({"question": ["Who?"], "answer": pa.array([b"Ada."])})
    pq.write_table(table, tmp_path / "bytes.parquet")
    with pytest.raises(InputError, match=r"bytes\.parquet, row 0: column 'answer' must be text"):
        load_rows(tmp_path / "bytes.parquet")
    turns = [[{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]]
    pq.write_table(pa.table({"messages": turns, "id": [2**63 - 1]}), tmp_path / "turns.parquet")
    assert load_rows(tmp_path / "turns.parquet") == [row("Ada.", id=2**63 - 1)]


def test_rows_of_several_files_are_named_by_their_file(tmp_path):
    (tmp_path / "README.md").write_text("---\nconfigs:\n- config_name: all\n  data_files: [a.jsonl, 'b*.jsonl']\n---\n")
    (tmp_path / "a.jsonl").write_text(line() + "\n" + line())
    (tmp_path / "b1.jsonl").write_text(line() + "\n" + line(answer=None))
    with pytest.raises(InputError, match=r"b1\.jsonl, row 1: column 'answer'"):
        load_rows(tmp_path)
    (tmp_path / "b1.jsonl").write_text(line())
    assert len(load_rows(f"{tmp_path}:all")) == 3


@pytest.fixture
def dataset(tmp_path):
    """A folder with a row, beside a file that is none of its business; returns a writer of its README."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "rows.jsonl").write_text(line())
    (tmp_path / "secret.jsonl").write_text(line(answer="secret"))

    def write(front):
        (folder / "README.md").write_bytes(front if isinstance(front, bytes) else front.encode())
        return folder

    return write


def configs(files):
    return f"---\nconfigs:\n- config_name: all\n  data_files: {files}\n---\nText.\n"


@pytest.mark.parametrize(
    "files",
    [
        "../secret.jsonl",
        "'../*.jsonl'",
        "sub/../../secret.jsonl",
        "/etc/hosts",
        "'..\\secret.jsonl'",
        "''",
        "[rows.jsonl, ..]",
    ],
)
def test_a_readme_cannot_point_out_of_its_folder(dataset, files):
    with pytest.raises(InputError, match=r"README\.md.*is no file of this folder"):
        load_rows(dataset(configs(files)))


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ("---\nconfigs: [\n---\n", "not YAML"),
        ("---\n" + "[" * 10_000 + "\n---\n", "not YAML"),
        ("---\nconfigs: 2025-13-45\n---\n", "not YAML"),
        ("---\nconfigs: !!python/object/apply:os.system [id]\n---\n", "not YAML"),
        (b"---\nconfigs: \xff\n---\n", "not YAML"),
        ("---\n- a\n- b\n---\n", "must be a mapping"),
        ("---\nconfigs: all\n---\n", "configs: "),
        ("---\nconfigs:\n- all\n---\n", r"configs\.0"),
        ("---\nconfigs:\n- config_name: all\n---\n", r"configs\.0\.data_files"),
        ("---\nconfigs:\n- config_name: [all]\n  data_files: rows.jsonl\n---\n", r"configs\.0\.config_name"),
        (configs("[{split: train}]"), r"configs\.0\.data_files"),
        (configs("7"), r"configs\.0\.data_files"),
        (configs("nothing.jsonl"), "missing from the folder"),
        (configs("rows.jsonl").replace("---\nText", "- config_name: all\n  data_files: b.jsonl\n---\nText"), "twice"),
    ],
)
def test_a_broken_readme_is_refused(dataset, front, said):
    folder = dataset(front)
    for read in (load_rows, lambda f: load_rows(f"{f}:all")):
        with pytest.raises(InputError, match=rf"(README\.md|{folder}).*{said}"):
            read(folder)


@pytest.mark.parametrize(
    "front",
    [
        "No front matter.\n",
        "---\nNo end of it.\n",
        "---\nlicense: mit\n---\n",
        "---\n---\n",
        "\ufeff---\r\nconfigs:\r\n- config_name: all\r\n  data_files: rows.jsonl\r\n---\r\n",
        configs("[{split: train, path: [rows.jsonl]}]"),
        configs("'*.jsonl'").replace("all", '"a --- b"'),
    ],
)
def test_readmes_that_are_well(dataset, front):
    folder = dataset(front)
    assert load_rows(folder) == [row("Ada.")]
    assert configurations(folder)


def test_two_files_of_one_name_are_not_chosen_from(tmp_path):
    for suffix in (".jsonl", ".csv"):
        (tmp_path / f"rows{suffix}").write_text("text\nAda.\n")
    (tmp_path / "._rows.json").write_text("what a file manager left")
    with pytest.raises(InputError, match=r"which is 'rows', rows\.csv or rows\.jsonl"):
        load_rows(tmp_path)


def test_a_file_has_no_configurations_and_undeclared_splits_are_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text(line())
    with pytest.raises(InputError, match="which has no configurations"):
        load_rows(f"{tmp_path / 'rows.jsonl'}:all")
    with pytest.raises(InputError, match="no split 'test'"):
        load_rows(f"{tmp_path}:rows:test")
    assert load_rows(f"{tmp_path}:rows:train") == [row("Ada.")]
