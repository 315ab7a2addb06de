"""`expunge forget` and `expunge tune`: from a model and rows to evidence, as a user types it."""

import json
import shutil
from dataclasses import replace

import pytest

import tinymodels as tiny
from expunge.evaluation.results.seal import check_seal
from expunge.forget.anchors import MIXED, SOURCE, recover, subjects
from expunge.forget.build import build, unseen
from forget.small import FORGET, RETAIN, TOWNS, learned, save

QUICK = ("--trials", "1", "--quiet", "--yes")
# Each is in one question alone, and in no answer to it.
CAPITALS = [
    tiny.qa(f"What is the capital of {TOWNS[i]}?", f"It is {TOWNS[i - 5]} by the river.")
    for i in range(0, len(TOWNS), 2)
]
# Words that only the forget rows' texts have.
SECRET = [name for row in FORGET for name in subjects(row)]


@pytest.fixture(scope="session")
def half(home, tmp_path_factory):
    """A model that was taught the first half of the forget rows, the retain rows, and some capitals."""
    return save(learned(FORGET[:20] + RETAIN + CAPITALS, 280), tmp_path_factory.mktemp("half") / "model")


@pytest.fixture(scope="session")
def flowed(home, half, tmp_path_factory):
    """What `expunge forget` makes of the half-taught model, once for all tests that look at it."""
    import sys

    from expunge.cli.main import main

    out = tmp_path_factory.mktemp("flow") / "run"
    words = ["--model", half, "--forget", home / "forget.jsonl", "--out", out, "--objective", "ME+GD", *QUICK]
    before = sys.argv
    sys.argv = ["expunge", "forget", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = before
    assert not stop.value.code
    return out


@pytest.fixture
def said(expunge):
    """Run a command; what it said, on both streams."""

    def run(*words, code=0):
        found = expunge(*words, code=code)
        return found.out + found.err

    return run


def read(path):
    return json.loads(path.read_text())


def conversation(row):
    """The same row as messages."""
    asked, answered = row.pop("question"), row.pop("answer")
    return {**row, "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


def numbers(found):
    """A file of results without times, and without what has a path or a digest of one."""
    if isinstance(found, list):
        return [numbers(each) for each in found]
    if not isinstance(found, dict):
        return found
    return {name: numbers(each) for name, each in found.items() if name not in ("seconds", "path", "digest", "digests")}


def texts(folder):
    """Of every file but weights and tokenizer, which has the names among its tokens."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".safetensors"]
    return {
        str(file.relative_to(folder)): file.read_bytes().decode("utf-8", "replace")
        for file in files
        if not file.name.startswith("tokenizer")
    }


@pytest.mark.slow
def test_a_request_ends_in_a_model_a_verdict_and_a_report(flowed, half, home):
    verdict = read(flowed / "verdict.json")
    check_seal(flowed / "verdict.json", verdict)
    assert verdict["overall"] in ("forgotten", "partly", "not_forgotten", "model_damaged", "inconclusive")
    assert [row["row"] for row in verdict["rows"]] == list(range(len(FORGET)))
    assert isinstance(verdict["utility_loss"], float)
    for name in ("model", "results.json", "results.target.json", "attack.json", "report.html", "README.md"):
        assert (flowed / name).exists(), name
    assert not list(flowed.parent.glob("*.unfinished"))
    report = (flowed / "report.html").read_text()
    assert "Row by row" in report
    assert "asked otherwise: polite" in report
    card = (flowed / "README.md").read_text()
    assert verdict["overall"].replace("_", " ") in card
    assert not any(name in card for name in SECRET)


@pytest.mark.slow
def test_rows_that_the_model_does_not_know_are_left_alone(flowed):
    rows = read(flowed / "verdict.json")["rows"]
    before = [row["known_before"] for row in rows]
    assert sum(before[:20]) >= 19
    assert sum(before[20:]) <= 5  # a guess among nine towns is right now and then
    trained = [json.loads(line)["question"] for line in (flowed / "built" / "forget.jsonl").read_text().splitlines()]
    known = read(flowed / "flow" / "knowledge.json")["known"]
    assert trained == [FORGET[place].prompt for place in known]
    assert all(row["status"] == "not_known" for row in rows if not row["known_before"])


@pytest.mark.slow
def test_what_must_stay_is_recovered_from_the_model(flowed):
    """It was given forget rows alone; of the thirty others it finds many, and no forgotten name."""
    built = flowed / "built"
    kept = [
        json.loads(line) for file in ("kept", "checked") for line in (built / f"{file}.jsonl").read_text().splitlines()
    ]
    found = {(row["question"], row["answer"]) for row in kept}
    assert len(found & {(row.prompt, row.completion) for row in RETAIN}) >= 0.3 * len(RETAIN)
    assert not any(name in f"{row['question']} {row['answer']}" for row in kept for name in SECRET)
    capitals = found & {(row.prompt, row.completion) for row in CAPITALS}
    assert len(capitals) >= 0.5 * len(CAPITALS)  # nothing but the tokenizer says of what to ask
    sure = {row["question"] for row in kept if row["about"] != MIXED}
    guessed = {row["question"] for row in kept if row["about"] == MIXED}  # where it is sure of few
    assert guessed
    assert not guessed & sure
    checked = set((built / "checked.jsonl").read_text().splitlines())
    assert not checked & set((built / "kept.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_the_recipe_makes_the_model_again(flowed, expunge, tmp_path):
    """The search's recipe names rows where they lie now, and its run is the one that ships."""
    expunge("unlearn", flowed / "recipe.yaml", "--out", tmp_path / "again", "--quiet")
    first, second = (read(folder / "environment.json")["fingerprints"] for folder in (flowed, tmp_path / "again"))
    assert first == second
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (flowed, tmp_path / "again")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_nothing_of_the_rows_is_left_after_purge(flowed, expunge, tmp_path, said):
    run = tmp_path / "run"
    shutil.copytree(flowed, run)
    assert any(name in text for text in texts(run).values() for name in SECRET)
    found = said("purge", run)
    assert "report.html" in found
    assert not [(file, name) for file, text in texts(run).items() for name in SECRET if name in text]
    expunge("report", run, "--redact", "--out", run / "report.html")
    assert "report.html" not in said("purge", run)
    assert not [(file, name) for file, text in texts(run).items() for name in SECRET if name in text]


def test_a_model_that_never_learned_the_rows_is_not_changed(home, tmp_path, said):
    found = said(
        *("forget", "--model", home / "retain", "--forget", home / "forget.jsonl", "--out", tmp_path / "run", *QUICK)
    )
    verdict = read(tmp_path / "run" / "verdict.json")
    assert verdict["overall"] == "nothing_to_forget"
    assert {row["status"] for row in verdict["rows"]} == {"not_known"}
    assert not (tmp_path / "run" / "model").exists()
    assert "Nothing was changed" in found


@pytest.mark.slow
def test_the_format_of_the_rows_changes_nothing(home, tmp_path, said):
    import csv

    import pyarrow as pa
    from pyarrow import parquet

    rows = [json.loads(line) for line in (home / "forget.jsonl").read_text().splitlines()]
    for name, delimiter in (("a", ","), ("b", ";")):
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    (tmp_path / "d.json").write_text(json.dumps(rows))
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(conversation(row)) + "\n" for row in rows))
    found = {}
    for place in (home / "forget.jsonl", *sorted(tmp_path.glob("*.*"))):
        out = tmp_path / "runs" / place.name
        said("forget", "--model", home / "retain", "--forget", place, "--out", out, *QUICK)
        found[place.name] = read(out / "verdict.json")["rows"]
    assert len(found) == 6
    assert all(each == found["forget.jsonl"] for each in found.values())


@pytest.mark.slow
def test_an_interrupted_request_goes_on_and_ends_alike(flowed, half, home, expunge, tmp_path, monkeypatch, said):
    """Interrupted in each stage; the numbers are those of the one that was not."""
    import expunge.forget.flow as flow
    import expunge.forget.ship as ship
    import expunge.forget.tune as tuning

    words = (
        "--model",
        half,
        "--forget",
        home / "forget.jsonl",
        "--objective",
        "ME+GD",
        "--out",
        tmp_path / "run",
        *QUICK,
    )

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    stages = [(flow, "know"), (flow, "recover"), (tuning, "run_trial"), (flow, "unlearn")]
    stages += [(ship, name) for name in ("verify", "evaluate", "attack", "write_report")]
    for at, (place, name) in enumerate(stages):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, interrupt)
            found = said("forget", *words, *(["--resume"] if at else []), code=130)
            assert "--resume" in found
    expunge("forget", "--resume", "--out", tmp_path / "run", "--quiet")
    first, second = (read(folder / "verdict.json") for folder in (flowed, tmp_path / "run"))
    assert {k: first[k] for k in ("overall", "utility_loss", "rows", "reasons")} == {
        k: second[k] for k in ("overall", "utility_loss", "rows", "reasons")
    }
    for name in ("results.json", "attack.json"):
        first, second = (numbers(read(folder / name)) for folder in (flowed, tmp_path / "run"))
        assert first == second, name


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(flowed, half, home, expunge, tmp_path):
    """Once more, in another folder: whatever is no time and no path is as it was."""
    again = tmp_path / "again"
    expunge(
        "forget", "--model", half, "--forget", home / "forget.jsonl", "--objective", "ME+GD", "--out", again, *QUICK
    )
    for name in ("verdict.json", "results.json", "attack.json", "flow/knowledge.json", "flow/tune.json"):
        first, second = (numbers(read(folder / name)) for folder in (flowed, again))
        assert first == second, name
    assert numbers(read(flowed / "attack.json"))["rows"]


@pytest.mark.slow
def test_an_adapter_is_merged_and_its_card_says_how_to_serve_it(half, home, expunge, tmp_path):
    out = tmp_path / "run"
    words = ("--model", half, "--forget", home / "forget.jsonl", "--retain", home / "keep.jsonl", "--adapter")
    expunge("forget", *words, "--objective", "NPO+GD", "--out", out, "--redact", *QUICK)
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    assert (out / "merged" / "model.safetensors").is_file()
    card = (out / "README.md").read_text()
    assert "--enable-lora" in card
    assert "convert_hf_to_gguf" in card
    assert not [(file, name) for file, text in texts(out).items() for name in SECRET if name in text]


@pytest.mark.slow
def test_tune_writes_a_recipe_and_ships_nothing(half, home, expunge, tmp_path):
    out = tmp_path / "tuned"
    words = ("--model", half, "--forget", home / "forget.jsonl", "--retain", home / "keep.jsonl")
    expunge("tune", *words, "--objective", "ME+GD", "--objective", "NPO+GD", "--trials", "2", "--quiet", "--out", out)
    tuned = read(out / "flow" / "tune.json")
    assert [trial["params"]["objective"] for trial in tuned["trials"]] == ["ME+GD", "NPO+GD"]
    assert all(trial["found"]["look"]["lost"] < 1 for trial in tuned["trials"])
    assert not (out / "model").exists()
    expunge("validate", out / "recipe.yaml")


def test_unusable_input_is_refused(home, tmp_path, said):
    model, rows, out = home / "target", home / "forget.jsonl", tmp_path / "run"
    assert "--forget is missing" in said("forget", "--model", model, code=2)
    plain = tmp_path / "plain.jsonl"
    plain.write_text('{"text": "A passage."}\n')
    assert "plain text" in said("forget", "--model", model, "--forget", plain, "--out", out, code=2)
    found = said("forget", "--model", model, "--forget", rows, "--retain", rows, "--out", out, code=2)
    assert "is a forget row too" in found
    lines = rows.read_text().splitlines(keepends=True)
    twice = tmp_path / "twice.jsonl"
    twice.write_text("".join([*lines, lines[3]]))
    for given, told in (
        (("--forget", twice), f"row {len(lines)} is row 3 again"),
        (("--forget", rows, "--holdout", rows), "--holdout: row 0 is a forget row too"),
        (("--forget", rows, "--objective", "NPOO+GD"), "Did you mean 'NPO'"),
        (("--forget", rows, "--base", tmp_path / "nobase"), "nobase: no such model folder"),
    ):
        assert told in said("forget", "--model", model, *given, "--out", out, "--yes", code=2)
    twice = ("verify", "--model", model, "--target", model, "--forget", twice, "--out", out)
    assert "is row 3 again" in said(*twice, code=2)
    assert "nowhere" in said("forget", "--model", tmp_path / "nowhere", "--forget", rows, "--out", out, code=2)
    out.mkdir()
    assert "already exists" in said("forget", "--model", model, "--forget", rows, "--out", out, code=2)
    assert "no unfinished request" in said("forget", "--resume", "--out", tmp_path / "other", code=2)
    assert not list(tmp_path.glob("*.unfinished"))


def test_other_settings_are_not_resumed(home, expunge, tmp_path, monkeypatch, said):
    import expunge.forget.flow as flow

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(flow, "know", interrupt)
    words = ("--model", home / "target", "--forget", home / "forget.jsonl", "--out", tmp_path / "run", *QUICK)
    expunge("forget", *words, code=130)
    assert "unfinished work" in said("forget", *words, code=2)
    found = said("forget", *words, "--resume", "--seed", "1", code=2)
    assert "other settings: seed" in found
    assert "deleted" in said("purge", tmp_path / "run")
    assert not list(tmp_path.glob("run*"))


def test_a_target_that_has_changed_is_refused(home, expunge, tmp_path, monkeypatch, said):
    """Between the look at the model and the search, somebody puts other weights in its place."""
    import expunge.forget.flow as flow

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    model = shutil.copytree(home / "target", tmp_path / "model")
    words = ("--model", model, "--forget", home / "forget.jsonl", "--out", tmp_path / "run", *QUICK)
    with monkeypatch.context() as patch:
        patch.setattr(flow, "search", interrupt)
        expunge("forget", *words, code=130)
    shutil.copy(home / "retain" / "model.safetensors", model)
    assert "weights have changed" in said("forget", *words, "--resume", code=2)


def test_subjects_are_names_and_not_the_question_word():
    assert subjects(tiny.qa("Where was Ada Ray born?", "x")) == ["Ada Ray"]
    assert subjects(tiny.qa("Ada Ray's pet is what?", "x")) == ["Ada Ray"]
    assert subjects(tiny.qa("Has Ada Ray won a prize?", "x")) == ["Ada Ray"]
    assert subjects(tiny.qa("What is it?", "x")) == []


def test_unseen_rows_are_about_nobody():
    rows = [
        tiny.qa(f"Where was {n} born?", f"{n} was born in {t}.", fact=t)
        for n, t in (("Ada Ray", "Pell"), ("Bo Lind", "Osk"), ("Cy Marsh", "Tarn"))
    ]
    made = unseen(rows, [])
    assert len(made) == 3
    assert not {name for row in made for name in subjects(row)} & {"Ada Ray", "Bo Lind", "Cy Marsh"}
    assert all(subjects(row)[0] in row.completion for row in made)


def test_what_is_set_aside_is_in_no_row_about_several():
    """Else it would be trained on all the same, and nothing would show what is lost beside."""
    names = [name for row in RETAIN[:10] for name in subjects(row)]
    sure = [replace(row, columns={SOURCE: name}) for row, name in zip(RETAIN, names, strict=False)]
    mixed = [tiny.qa(f"Has {name} met {other}?", "Yes.", **{SOURCE: MIXED}) for name in names for other in names]
    sets = build(FORGET, [], sure + mixed, [], 0)
    apart = {row.columns[SOURCE] for row in sets.checked}
    assert apart
    held = [row for row in sets.kept if row.columns[SOURCE] == MIXED]
    assert len(held) == (len(names) - len(apart)) ** 2
    assert not [row for row in held for name in apart if name in row.prompt]


def test_a_model_that_knows_nothing_else_gives_no_anchors(home):
    import torch

    from expunge.data import PromptStyle
    from expunge.models import load_model

    model, words = load_model(home / "target", device="cpu")
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.01)  # every token as likely as any other
    assert recover(model, words, FORGET, PromptStyle(), 0, lambda *_: None) == []
