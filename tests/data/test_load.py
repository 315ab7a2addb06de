"""SPECs: every accepted layout, from every accepted place."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expunge.data import Row, Turn, configurations, load_rows
from expunge.errors import InputError
from expunge.training.batching.refusals import load_refusals

TOFU = Path(__file__).parents[2].parent / "shared" / "data" / "tofu"
EXPECTED = [Row((Turn("user", "Who?"),), "Ada."), Row((Turn("user", "Where?"),), "Tarn.")]
RECORDS = [{"question": "Who?", "answer": "Ada."}, {"question": "Where?", "answer": "Tarn."}]


@pytest.fixture
def files(tmp_path):
    """The same two rows in every format."""
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    (tmp_path / "tofu.json").write_text("".join(json.dumps(r) + "\n" for r in RECORDS))
    (tmp_path / "array.json").write_text(json.dumps(RECORDS, indent=1))
    (tmp_path / "table.csv").write_text("question,answer\nWho?,Ada.\nWhere?,Tarn.\n")
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "table2.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["lines.jsonl", "tofu.json", "array.json", "table.csv", "table2.parquet"])
def test_formats(files, name):
    assert load_rows(files / name) == EXPECTED
    assert load_rows(f"{files}:{name.partition('.')[0]}") == EXPECTED


TALK = [
    ("system", "Be brief."),
    ("user", "Hello."),
    ("assistant", "Good day."),
    ("user", "Who?"),
    ("assistant", "Ada."),
]
SPOKEN = [{"role": role, "content": content} for role, content in TALK]
ASKED = Row(tuple(Turn(role, content) for role, content in TALK[:-1]), "Ada.")


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"messages": SPOKEN}, ASKED),
        ({"prompt": SPOKEN[:-1], "completion": "Ada."}, ASKED),
        ({"prompt": SPOKEN[:-1], "completion": SPOKEN[-1:]}, ASKED),
        ({"prompt": "Who?", "completion": "Ada."}, EXPECTED[0]),
        ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]}, EXPECTED[0]),
        (
            {
                "prompt": [{"role": "user", "content": "Who?"}],
                "completion": [{"role": "assistant", "content": "Ada."}],
            },
            EXPECTED[0],
        ),
        ({"text": "Ada."}, Row((), "Ada.")),
        ({"question": "Who?", "answer": "Ada.", "fact": "Ada"}, Row(EXPECTED[0].turns, "Ada.", {"fact": "Ada"})),
    ],
)
def test_columns(tmp_path, record, expected):
    (tmp_path / "rows.jsonl").write_text(json.dumps(record) + "\n")
    assert load_rows(tmp_path / "rows.jsonl") == [expected]
    assert load_rows(tmp_path) == [expected]


def test_declared_configurations_and_splits(files):
    front = (
        "---\nconfigs:\n- config_name: small\n  data_files:\n  - split: train\n    path: array.json\n"
        "  - split: test\n    path: lines.jsonl\n- config_name: big\n  data_files: '*.csv'\n---\nText.\n"
    )
    (files / "README.md").write_text(front)
    assert configurations(files) == ["big", "small"]
    for spec in ("small", "small:train", "small:test", "big"):
        assert load_rows(f"{files}:{spec}") == EXPECTED
    with pytest.raises(InputError, match="several configurations"):
        load_rows(files)
    with pytest.raises(InputError, match=r"'smal'.*Did you mean 'small'"):
        load_rows(f"{files}:smal")
    with pytest.raises(InputError, match=r"'trian'.*Did you mean 'train'"):
        load_rows(f"{files}:small:trian")


def test_a_folder_with_several_files_asks_which(files):
    with pytest.raises(InputError, match=r"several files.*array"):
        load_rows(files)


@pytest.mark.skipif(not TOFU.is_dir(), reason="the TOFU folder is not here")
def test_tofu():
    rows = load_rows(f"{TOFU}:forget10_perturbed")
    assert len(rows) == 400
    assert len(rows[0].columns["perturbed_answer"]) == 5
    assert "forget10" in configurations(TOFU)


def test_nothing_is_left_in_a_cache(files, tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HF_HOME", str(home))
    load_rows(files / "array.json")
    assert not list(home.iterdir())


def test_refusals_lose_their_newlines(tmp_path):
    (tmp_path / "idk.txt").write_text("No idea.\r\n\n  Cannot say. \n")
    assert load_refusals(tmp_path / "idk.txt") == ["No idea.", "Cannot say."]
    assert len(load_refusals()) == 100
