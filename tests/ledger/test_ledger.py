"""Requests over time, through the command line: recorded, processed, measured again, taken back, reduced to digests."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest
import yaml
from filelock import FileLock
from safetensors.torch import load_file

from expunge.ledger import Ledger
from ledger.conftest import REQUESTS, write

LEARN = ("--objective", "GA", "objective.forget_weight=-1", "train.num_train_epochs=30")
"""An objective that brings back what it should make the model forget."""


def bodies(folder, kind):
    return [record.body for record in Ledger(folder).store.records() if record.kind == kind]


def environment(folder, name):
    return json.loads((folder / "states" / name / "environment.json").read_text())["fingerprints"]


def current(folder):
    return [state.name for state in Ledger(folder).timeline().current]


def weights(folder, name):
    return load_file(folder / "states" / name / "model" / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


@pytest.fixture(scope="module")
def processed(knowing, sets, tmp_path_factory):
    """A ledger of two processed requests and one that is pending."""
    from expunge.ledger import add, init, run
    from expunge.training import Recipe
    from expunge.training.recipe import parse_overrides
    from ledger.conftest import SETTINGS

    folder = tmp_path_factory.mktemp("processed") / "ledger"
    train = {key.removeprefix("train."): value for key, value in parse_overrides(SETTINGS).items()}
    recipe = Recipe(model=str(knowing), forget="-", retain=str(sets / "retain.jsonl"), objective="NPO+GD", train=train)
    init(folder, recipe)
    for name in REQUESTS:
        add(folder, sets / f"{name}.jsonl", name)
        if name != "r3":
            run(folder, quiet=True)
    return folder


@pytest.fixture
def copied(processed, tmp_path):
    """A copy of it that may be harmed."""
    return shutil.copytree(processed, tmp_path / "ledger")


def test_each_request_starts_from_the_model_before_and_all_earlier_ones_are_measured_again(processed, expunge, knowing):
    first, second = bodies(processed, "processed")
    start = bodies(processed, "init")[0]["model"]["fingerprint"]
    names = [first["name"], second["name"]]
    assert environment(processed, names[0])["target_model"] == start
    assert environment(processed, names[1])["target_model"] == first["model"]["fingerprint"]
    assert "reference_model" not in environment(processed, names[0])  # the target is the first model
    assert environment(processed, names[1])["reference_model"] == start
    assert first["known_before"] == {"r1": {"known": 2, "rows": 2, "by_chance": 0.0}}
    assert first["known"] == {"r1": {"known": 0, "rows": 2, "by_chance": 0.0}}
    assert list(second["known"]) == ["r1", "r2"]
    assert list(second["again"]) == ["r1"]
    shown = expunge("ledger", "status", processed).out
    assert "r3" in shown
    assert "pending" in shown
    assert current(processed)[-1] in shown.replace("\n", "")


def test_rows_that_were_requested_are_not_kept_whatever_their_case(processed):
    rows = [body["rows"]["retain"]["rows"] for body in bodies(processed, "processed")]
    assert bodies(processed, "init")[0]["retain"]["rows"] == 8
    assert rows == [7, 7]


def test_what_is_still_pending_is_not_kept_either(begun, expunge, sets, tmp_path):
    folder = begun("r2")
    kept = write(tmp_path / "late.jsonl", REQUESTS["r1"])
    expunge("ledger", "add", folder, "--forget", kept, "--id", "late")
    expunge("ledger", "run", folder, "--quiet", "train.max_steps=1")
    assert bodies(folder, "begun")[0]["excluded"] == ["r2", "late"]
    assert [body["rows"]["retain"]["rows"] for body in bodies(folder, "processed")] == [7, 7]


@pytest.mark.slow
def test_the_reference_can_be_the_model_before(begun, expunge):
    folder = begun("r1", "r2", options=("--objective", "NPO+GD", "--reference", "previous"))
    expunge("ledger", "run", folder, "--quiet", "train.max_steps=1")
    assert "reference_model" not in environment(folder, current(folder)[1])


def test_settings_of_a_run_are_recorded_with_it_and_only_there(begun, expunge, sets):
    folder = begun("r1", "r2")
    expunge("ledger", "run", folder, "--quiet", "--batch", "2", "--objective", "GA+GD", "train.max_steps=1")
    expunge("ledger", "add", folder, "--forget", sets / "r3.jsonl", "--id", "r3")
    expunge("ledger", "run", folder, "--quiet", "train.max_steps=2")
    first, second = bodies(folder, "begun")
    assert first["requests"] == ["r1", "r2"]
    assert (first["settings"]["objective"], first["settings"]["train"]["max_steps"]) == ("GA+GD", 1)
    assert (second["settings"]["objective"], second["settings"]["train"]["max_steps"]) == ("NPO+GD", 2)
    recipe = yaml.safe_load((folder / "states" / second["name"] / "recipe.yaml").read_text())
    assert recipe["train"]["max_steps"] == 2
    assert bodies(folder, "init")[0]["settings"]["train"].get("max_steps") is None
    assert "Nothing is pending" in expunge("ledger", "run", folder, "--quiet").out


@pytest.mark.slow
def test_adapters_are_stacked(begun, expunge):
    folder = begun("r1", "r2", options=("--objective", "NPO+GD", "lora.r=2", "lora.target_modules=all-linear"))
    expunge("ledger", "run", folder, "--quiet", "train.max_steps=2")
    first, second = bodies(folder, "processed")
    assert "adapter/adapter_model.safetensors" in second["files"]
    config = json.loads((folder / "states" / second["name"] / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder / "states" / first["name"] / "adapter")
    assert first["model"] != second["model"]
    expunge("ledger", "verify", folder)


def test_adding_twice_changes_nothing_and_other_rows_are_refused(begun, expunge, sets, tmp_path):
    folder = begun("r1")
    before = Ledger(folder).timeline().head
    reordered = [{"answer": row.completion, "question": row.prompt} for row in REQUESTS["r1"]]
    (tmp_path / "again.json").write_text(json.dumps(reordered))
    assert "already" in expunge("ledger", "add", folder, "--forget", tmp_path / "again.json", "--id", "r1").out
    assert Ledger(folder).timeline().head == before
    other = expunge("ledger", "add", folder, "--forget", sets / "r2.jsonl", "--id", "r1", code=2)
    assert "has other rows" in other.err
    assert "R1" in expunge("ledger", "add", folder, "--forget", sets / "r2.jsonl", "--id", "R1", code=2).err
    expunge("ledger", "undo", folder, "r1")
    assert "was undone" in expunge("ledger", "add", folder, "--forget", sets / "r1.jsonl", "--id", "r1", code=2).err
    assert [file.name for file in (folder / "requests").iterdir()] == ["r1.jsonl"]


@pytest.mark.parametrize("name", ["../r1", "", ".r1", "a b", "x" * 65])
def test_an_id_that_is_no_file_name_is_refused(name, begun, expunge, sets):
    folder = begun()
    assert "--id" in expunge("ledger", "add", folder, "--forget", sets / "r1.jsonl", "--id", name, code=2).err


def test_plain_text_is_refused_since_nothing_could_be_asked(begun, expunge, tmp_path):
    folder = begun()
    (tmp_path / "passage.jsonl").write_text('{"text": "Ada Quill was born in Tarn."}\n')
    found = expunge("ledger", "add", folder, "--forget", tmp_path / "passage.jsonl", "--id", "p", code=2)
    assert "plain text" in found.err
    assert not list((folder / "requests").iterdir())


def test_a_second_process_is_refused_but_requests_can_be_added_meanwhile(copied, expunge, sets):
    with FileLock(copied / "lock"):
        assert "recorded" in expunge("ledger", "add", copied, "--forget", sets / "r1.jsonl", "--id", "meanwhile").out
        for words in (("run", copied), ("undo", copied, "r1")):
            assert "another process" in expunge("ledger", *words, code=2).err
        assert "another process" in expunge("purge", copied, code=2).err


def test_a_folder_that_is_no_ledger(expunge, tmp_path):
    for command in ("status", "run", "verify", "report"):
        assert "no ledger there" in expunge("ledger", command, tmp_path, code=2).err


def test_a_ledger_is_not_made_over_anything(begun, expunge, knowing, sets):
    folder = begun()
    words = ("ledger", "init", folder, "--model", knowing, "--retain", sets / "retain.jsonl")
    assert "already exists" in expunge(*words, code=2).err


def test_a_loss_that_is_no_number_stops_the_run_and_other_settings_start_again(begun, expunge):
    folder = begun("r1")
    found = expunge("ledger", "run", folder, "--quiet", "train.learning_rate=1e30", "train.max_grad_norm=0", code=3)
    assert found.err.startswith("expunge: r1: ")
    assert "run again with other settings" in found.err
    assert current(folder) == []
    expunge("ledger", "run", folder, "--quiet", "train.max_steps=1")
    assert [path.name for path in (folder / "states").iterdir()] == current(folder)
    expunge("ledger", "verify", folder)


def test_a_retain_set_that_was_requested_whole_is_refused(begun, expunge, sets):
    folder = begun()
    expunge("ledger", "add", folder, "--forget", sets / "retain.jsonl", "--id", "all")
    assert "none is left to keep" in expunge("ledger", "run", folder, "--quiet", code=2).err


def test_results_that_were_edited_are_no_baseline(copied, expunge):
    replace(state(copied, 0) / "measured.json", b"0.0", b"1.0")
    assert "measured.json: is not what was recorded" in expunge("ledger", "run", copied, "--quiet", code=2).err


class TestRegression:
    @pytest.fixture
    def stopped(self, copied, expunge, sets):
        """r1 is learned again under another name."""
        expunge("ledger", "undo", copied, "r3")
        expunge("ledger", "add", copied, "--forget", sets / "r1.jsonl", "--id", "back")
        found = expunge("ledger", "run", copied, "--quiet", *LEARN, code=3)
        assert "came back what had been forgotten: r1 (2 of 2 rows)" in found.err
        return copied

    def test_it_stops_the_run_and_the_model_stays_the_one_before(self, stopped, expunge):
        assert [state.requests for state in Ledger(stopped).timeline().current] == [("r1",), ("r2",)]
        shown = expunge("ledger", "status", stopped).out
        assert "Stopped: with back came back r1" in shown
        assert "Stopped" in page(stopped, expunge)
        expunge("ledger", "verify", stopped)

    def test_the_same_again_is_refused_and_other_settings_go_on_from_the_last_good_model(self, stopped, expunge):
        before = current(stopped)[-1]
        assert "--accept" in expunge("ledger", "run", stopped, "--quiet", *LEARN, code=2).err
        expunge("ledger", "run", stopped, "--quiet")
        begun = bodies(stopped, "begun")[-1]
        assert (begun["parent"], begun["requests"]) == (before, ["back"])
        assert [state.requests for state in Ledger(stopped).timeline().current] == [("r1",), ("r2",), ("back",)]

    def test_it_can_be_accepted_and_is_then_what_later_ones_are_compared_with(self, stopped, expunge, sets):
        expunge("ledger", "run", stopped, "--quiet", "--accept")
        assert bodies(stopped, "accepted")[0]["name"] == current(stopped)[-1]
        expunge("ledger", "add", stopped, "--forget", sets / "r3.jsonl", "--id", "next")
        expunge("ledger", "run", stopped, "--quiet", "train.max_steps=1", "train.learning_rate=1e-6")
        assert bodies(stopped, "processed")[-1]["again"]["r1"]["forgotten"] == 0
        assert "no regression" in expunge("ledger", "run", stopped, "--accept", code=2).err


class TestUndo:
    def test_the_later_ones_are_made_again_as_if_it_had_never_been(self, copied, begun, expunge):
        expunge("ledger", "run", copied, "--quiet")
        expunge("ledger", "undo", copied, "r2", "--quiet")
        shutil.rmtree(copied.parent / "ledger2", ignore_errors=True)
        copied = copied.rename(copied.parent / "undone")
        never = begun("r1", "r3")
        expunge("ledger", "run", never, "--quiet")
        pairs = list(zip(current(copied), current(never), strict=True))
        assert len(pairs) == 2
        assert all(same(weights(copied, a), weights(never, b)) for a, b in pairs)
        assert [body["known"] for body in bodies(copied, "processed")][-1].keys() == {"r1", "r3"}

    def test_states_that_were_taken_back_are_kept_as_history(self, copied, expunge):
        before = current(copied)
        expunge("ledger", "undo", copied, "r1", "--quiet")
        assert all((copied / "states" / name).is_dir() for name in before)
        assert not set(before) & set(current(copied))
        expunge("ledger", "verify", copied)
        head = Ledger(copied).timeline().head
        expunge("ledger", "undo", copied, "r1", "--quiet")
        assert Ledger(copied).timeline().head == head

    @pytest.mark.slow
    def test_one_of_a_batch(self, begun, expunge):
        folder = begun("r1", "r2", "r3")
        expunge("ledger", "run", folder, "--quiet", "--batch", "2", "train.max_steps=1")
        expunge("ledger", "undo", folder, "r1", "--quiet")
        states = Ledger(folder).timeline().current
        assert [state.requests for state in states] == [("r2",), ("r3",)]
        assert all(state.settings["train"]["max_steps"] == 1 for state in states)

    def test_one_that_is_pending_or_unknown(self, copied, expunge):
        states = current(copied)
        expunge("ledger", "undo", copied, "r3")
        assert current(copied) == states
        assert "Nothing is pending" in expunge("ledger", "run", copied).out
        assert "no request 'r9'" in expunge("ledger", "undo", copied, "r9", code=2).err


def files_with(folder, rows):
    texts = [row.completion.encode() for row in rows if len(row.completion) > 12]
    assert texts
    found = [file for file in folder.rglob("*") if file.is_file() and any(t in file.read_bytes() for t in texts)]
    return [str(file.relative_to(folder)) for file in found]


class TestRedaction:
    def test_texts_of_processed_requests_go_and_their_rows_are_still_not_kept(self, copied, expunge, sets):
        assert files_with(copied, REQUESTS["r1"])
        expunge("ledger", "run", copied, "--quiet", "--redact", "train.max_steps=1")
        for rows in REQUESTS.values():
            assert files_with(copied, rows) == []
        expunge("ledger", "verify", copied)
        assert "already" in expunge("ledger", "add", copied, "--forget", sets / "r1.jsonl", "--id", "r1").out
        more = write(copied.parent / "more.jsonl", REQUESTS["r2"][:1])
        expunge("ledger", "add", copied, "--forget", more, "--id", "more")
        expunge("ledger", "run", copied, "--quiet", "train.max_steps=1")
        last = bodies(copied, "processed")[-1]
        assert list(last["known"]) == ["more"]  # what is gone cannot be asked
        assert last["rows"]["retain"]["rows"] == 7

    def test_an_undo_that_needs_erased_texts_is_refused(self, copied, expunge):
        expunge("ledger", "run", copied, "--quiet", "--redact", "train.max_steps=1")
        assert "r2, r3" in expunge("ledger", "undo", copied, "r1", code=2).err
        expunge("ledger", "undo", copied, "r3")
        assert [state.requests for state in Ledger(copied).timeline().current] == [("r1",), ("r2",)]

    def test_weights_of_earlier_states_go_and_the_rest_is_still_verified(self, copied, expunge):
        expunge("ledger", "run", copied, "--quiet", "--prune", "train.max_steps=1")
        first, _, last = current(copied)
        left = [str(file.relative_to(copied / "states")) for file in copied.glob("states/*/model")]
        assert left == [f"{last}/model"]
        expunge("ledger", "verify", copied)
        assert "weights of the state before it are deleted" in expunge("ledger", "undo", copied, "r3", code=2).err
        assert page(copied, expunge).count("weights deleted") == 2
        flip(copied / "states" / first / "measured.json")
        assert "measured.json: was edited" in expunge("ledger", "verify", copied, code=2).err

    @pytest.mark.slow
    def test_weights_below_an_adapter_are_kept(self, begun, expunge):
        folder = begun("r1", "r2", options=("--objective", "NPO+GD", "lora.r=2"))
        found = expunge("ledger", "run", folder, "--quiet", "--prune", "train.max_steps=1", code=2)
        assert "adapter" in found.err
        assert len(list(folder.glob("states/*/adapter"))) == 2

    def test_purge_finds_all_but_what_is_still_to_be_processed(self, copied, expunge):
        state = copied / "states" / current(copied)[0]
        (state / "results.examples.parquet").touch()
        left = [
            copied / "states" / "0009-x.unfinished" / "reference" / "tokens.safetensors",
            copied / "inputs" / "0009-x" / "forget.jsonl",
            copied / "requests" / ".r9.jsonl.0123456789ab.tmp",
            copied / "requests" / "r9.jsonl",
            copied / ".retain.jsonl.0123456789ab.tmp",
        ]
        for file in left:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        would = expunge("purge", "--dry-run", copied).out
        assert all(file.exists() for file in left)
        done = expunge("purge", copied).out
        assert would.replace("would delete", "deleted") == done
        assert not any(file.exists() for file in [*left, state / "results.examples.parquet"])
        assert sorted(file.name for file in (copied / "requests").iterdir()) == ["r3.jsonl"]
        assert f"kept {copied / 'requests' / 'r3.jsonl'}" in done
        expunge("ledger", "verify", copied)
        expunge("ledger", "run", copied, "--quiet", "train.max_steps=1")


def edit_record(folder, sql):
    with sqlite3.connect(folder / "ledger.sqlite") as connection:
        connection.executescript(f"DROP TRIGGER no_change; DROP TRIGGER no_removal; {sql}")


def replace(file, old, new):
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))


def flip(file):
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(bytes(content))


def state(folder, number):
    return folder / "states" / current(folder)[number]


FAULTS = {
    "a record": (
        lambda f: edit_record(f, "UPDATE records SET body = replace(body, '2', '3') WHERE number = 4"),
        "record 4",
    ),
    "a time": (lambda f: edit_record(f, "UPDATE records SET time = '2020' WHERE number = 2"), "record 2"),
    "a record less": (lambda f: edit_record(f, "DELETE FROM records WHERE number = 3"), "record 3 is missing"),
    "rows": (lambda f: replace(f / "requests/r2.jsonl", b"Bram", b"Bran"), "r2.jsonl: is not what was recorded"),
    "rows less": (lambda f: (f / "requests/r3.jsonl").unlink(), "r3.jsonl: the rows cannot be read"),
    "retain rows": (lambda f: replace(f / "retain.jsonl", b"Pell", b"Poll"), "retain.jsonl: is not what was recorded"),
    "weights": (lambda f: flip(state(f, 0) / "model/model.safetensors"), "model/model.safetensors: was edited"),
    "a result": (lambda f: replace(state(f, 1) / "measured.json", b"1.0", b"0.0"), "measured.json: was edited"),
    "a state": (lambda f: shutil.rmtree(state(f, 1)), "r2: is missing"),
    "a file more": (lambda f: (state(f, 1) / "model/more.safetensors").touch(), "more.safetensors: is in no record"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_names_what_is_not_as_recorded(fault, copied, expunge):
    harm, named = FAULTS[fault]
    expunge("ledger", "verify", copied)
    harm(copied)
    found = expunge("ledger", "verify", copied, code=2).err
    assert named in found
    if "record" in fault or fault == "a time":
        assert named in expunge("ledger", "run", copied, code=2).err


def test_records_taken_off_the_end_are_found_by_a_digest_that_was_noted(copied, expunge):
    noted = re.search(r"Last digest: (\w+)", expunge("ledger", "verify", copied).out)[1]
    expunge("ledger", "verify", copied, "--head", noted)
    edit_record(copied, "DELETE FROM records WHERE kind = 'added' AND number = (SELECT max(number) FROM records)")
    found = expunge("ledger", "verify", copied, "--head", noted, code=2).err
    assert noted in found
    assert "r3.jsonl: is in no record" in found


def test_another_first_model_is_noticed_before_anything_is_trained_from_it(begun, expunge, knowing, tmp_path):
    model = shutil.copytree(knowing, tmp_path / "copy")
    folder = begun("r1", options=("--objective", "NPO+GD", "--model", model))
    flip(model / "model.safetensors")
    assert "the first model" in expunge("ledger", "verify", folder, code=2).err
    assert "not the one that was recorded" in expunge("ledger", "run", folder, "--quiet", code=2).err
    assert not list((folder / "states").iterdir())


def test_digests_of_another_machine_are_not_taken_for_edits(processed, expunge, monkeypatch, tmp_path):
    monkeypatch.setenv("EXPUNGE_HOME", str(tmp_path))
    assert "another salt" in expunge("ledger", "verify", processed, code=2).err


def test_a_record_cannot_be_changed_by_mistake(copied):
    with sqlite3.connect(copied / "ledger.sqlite") as connection:
        for sql in ("UPDATE records SET kind = 'x'", "DELETE FROM records"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                connection.execute(sql)


def page(folder, expunge, *options):
    expunge("ledger", "report", folder, "--out", folder.parent / "page.html", *options)
    return (folder.parent / "page.html").read_text()


class TestReport:
    def test_the_matrix_has_every_request_at_every_time(self, copied, expunge):
        html = page(copied, expunge)
        matrix = html.partition('id="matrix"')[2].partition("</section>")[0]
        cells = [
            re.findall(r'<td class="(\w+)( own)?"><span class="value">(\d) of (\d)', row)
            for row in matrix.split("<tr>")
        ]
        r1, r2 = [row for row in cells if row]
        assert [cell[0] for cell in r1][:2] == ["no", "yes"]
        assert [(cell[2], cell[3]) for cell in r1][:2] == [("2", "2"), ("0", "2")]
        assert [bool(cell[1]) for cell in r1] == [False, True, False]
        assert [bool(cell[1]) for cell in r2] == [False, True]
        assert Ledger(copied).timeline().head in html

    def test_no_row_is_shown_and_redacted_no_name_either(self, copied, expunge, knowing, sets):
        expunge("ledger", "add", copied, "--forget", sets / "r1.jsonl", "--id", "mrs-quill", "--note", "<b>Ada</b>")
        html = page(copied, expunge)
        assert "&lt;b&gt;Ada" in html
        assert "mrs-quill" in html
        hidden = page(copied, expunge, "--redact")
        assert not [name for name in ("mrs-quill", "Ada", str(knowing), "0004-r1") if name in hidden]
        texts = [text for rows in REQUESTS.values() for row in rows for text in (row.prompt, row.completion)]
        assert not [text for text in texts if len(text) > 8 and (text in html or text in hidden)]

    def test_a_page_needs_no_model_library(self, processed, tmp_path):
        program = (
            "import sys; from expunge.ledger import write_report; write_report(*sys.argv[1:]); "
            "print({'torch', 'transformers'} & set(sys.modules))"
        )
        words = [sys.executable, "-c", program, str(processed), str(tmp_path / "page.html")]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "set()\n"
