"""A run is resumed with what it was started with, or not at all; and by one process at a time."""

import json
import shutil
import subprocess
import sys

import pytest
from filelock import FileLock

import tinymodels as tiny
from expunge.cli.main import main
from expunge.training import UnlearningTrainer
from expunge.training.checkpoints import last_whole_checkpoint


class Killed(BaseException):
    """Nobody catches a kill."""


@pytest.fixture
def place(model_folder, data, tmp_path):
    """Copies of all that a run reads, to be changed."""
    shutil.copytree(model_folder, tmp_path / "model")
    shutil.copytree(data, tmp_path / "data")
    return tmp_path


@pytest.fixture
def expunge(monkeypatch, capsys):
    """Run a command in this process: exit code, standard error."""

    def run(*words):
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
        try:
            main()
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run


def words(place, *more):
    sets = ("--forget", place / "data" / "forget.jsonl", "--retain", place / "data" / "retain.jsonl")
    options = ("train.use_cpu=true", "train.learning_rate=1e-2", "train.num_train_epochs=2")
    return (
        *("unlearn", "--model", place / "model", *sets, "--idk", place / "data" / "idk.txt", "--objective", "DPO+GD"),
        *("--out", place / "run", "--quiet", *options, *more),
    )


def kill(place, expunge, monkeypatch, *more, before=False):
    """Leave the run unfinished: killed when the model is saved, or before anything is written down."""
    save = UnlearningTrainer.save_model

    def killed(*_, **__):
        raise Killed

    def killed_at_the_end(self, output_dir=None, _internal_call=False):
        return save(self, output_dir, _internal_call) if _internal_call else killed()

    with monkeypatch.context() as patch:
        if before:
            patch.setattr(UnlearningTrainer, "train", killed)
        else:
            patch.setattr(UnlearningTrainer, "save_model", killed_at_the_end)
        with pytest.raises(Killed):
            expunge(*words(place, *more))


def edit(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def other_weights(place):
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
    tiny.tiny_llama(tokenizer, seed=9).save_pretrained(place / "model")


CHANGES = {
    "the target model's weights": other_weights,
    "the tokenizer": lambda place: edit(place / "model" / "chat_template.jinja", "<|end|>", "<|end|> "),
    "the forget rows": lambda place: edit(place / "data" / "forget.jsonl", "in Tarn", "in Pell"),
    "the retain rows": lambda place: edit(place / "data" / "retain.jsonl", "Seven islands", "Nine islands"),
    "the refusals": lambda place: edit(place / "data" / "idk.txt", "No idea", "No clue"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("bare", [True, False])
def test_a_changed_input_is_named_and_nothing_is_lost(what, bare, place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch)
    work = place / "run.unfinished"
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    CHANGES[what](place)
    resume = ("unlearn", "--resume", "--out", place / "run", "--quiet") if bare else words(place, "--resume")
    code, error = expunge(*resume)
    assert code == 2
    assert f"cannot be resumed: {what} changed" in error
    kept = {path for path, content in before.items() if path.is_file() and path.read_bytes() == content}
    assert {path for path in before if "reference" not in path.parts} <= kept


def test_changed_code_is_noticed(place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch)
    monkeypatch.setattr("expunge.training.evidence.fingerprint_code", lambda *rooms: "other code")
    code, error = expunge(*words(place, "--resume"))
    assert (code, "expunge's own code changed" in error) == (2, True)


def test_a_changed_library_is_noticed(place, expunge, monkeypatch):
    from importlib.metadata import version

    kill(place, expunge, monkeypatch)
    monkeypatch.setattr("expunge.training.evidence.version", lambda n: "9.9" if n == "torch" else version(n))
    code, error = expunge(*words(place, "--resume"))
    assert (code, "torch (was" in error) == (2, True)


def test_another_recipe_is_named_and_the_unfinished_run_stays(place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch)
    code, error = expunge(*words(place, "--resume", "objective.beta=0.5"))
    assert code == 2
    assert "objective.DPO.beta (was 0.1, is 0.5)" in error
    assert last_whole_checkpoint(place / "run.unfinished")
    assert expunge(*words(place, "--resume"))[0] == 0


def test_bad_input_with_resume_does_not_delete_the_unfinished_run(place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch)
    (place / "data" / "forget.jsonl").write_text("{")
    code, _ = expunge("unlearn", "--resume", "--out", place / "run", "--quiet")
    assert code == 2
    assert last_whole_checkpoint(place / "run.unfinished")


def test_the_environment_is_that_of_all_steps(place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch)
    started = json.loads((place / "run.unfinished" / "environment.json").read_text())
    assert "steps" not in started
    assert expunge("unlearn", "--resume", "--out", place / "run", "--quiet")[0] == 0
    finished = json.loads((place / "run" / "environment.json").read_text())
    assert finished["steps"] == 2
    assert finished["fingerprints"] == started["fingerprints"]
    assert finished["started"] == started["started"]
    assert set(finished["fingerprints"]) >= {"target_model", "forget", "retain", "refusals", "recipe", "code"}


def test_a_kill_before_the_first_step_leaves_what_the_same_command_starts_again(place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch, before=True)
    work = place / "run.unfinished"
    assert (work / "reference" / "tokens.safetensors").is_file()
    assert not (work / "recipe.yaml").exists()
    (work / "reference" / "stale").touch()
    code, error = expunge("unlearn", "--resume", "--out", place / "run")
    assert (code, "no unfinished run to resume" in error) == (2, True)
    assert expunge(*words(place))[0] == 0
    assert sorted(p.name for p in (place / "run").iterdir()) == [
        "environment.json",
        "model",
        "recipe.yaml",
        "train_log.jsonl",
    ]


HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_one_process_works_on_a_run(more, place, expunge, monkeypatch):
    kill(place, expunge, monkeypatch)
    lock = place / "run.unfinished" / "lock"
    assert not lock.exists()
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        code, error = expunge(*words(place, *more))
        assert (code, "another process is working on this run" in error) == (2, True)
    finally:
        other.kill()
        other.wait()
    assert last_whole_checkpoint(place / "run.unfinished")
    assert expunge(*words(place, "--resume"))[0] == 0


def test_a_run_in_python_holds_its_folder_too(tokenizer, tmp_path):
    from expunge import UnlearningConfig
    from expunge.errors import InputError

    args = UnlearningConfig(str(tmp_path), use_cpu=True, disable_tqdm=True)
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer)
    with FileLock(tmp_path / "lock"), pytest.raises(InputError, match="another process is working"):
        trainer.train()
