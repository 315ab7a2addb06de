"""A checkpoint is whole or not there, whenever the process is killed; and a full disk costs nothing but time."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer, TrainerState

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.errors import InputError
from expunge.training import checkpoints
from expunge.training.checkpoints import WHOLE, last_whole_checkpoint
from thinned import thinned

STEPS = 4


PDU = {"objective": "PDU+GD", "objective_options": {"eps": 1.0, "eta": 0.5}}
"""Its weights are in its checkpoints."""


class Killed(BaseException):
    """Nobody catches a kill."""


def trainer(tokenizer, folder, **options):
    """One that saves after each of four steps, and keeps the newest checkpoint."""
    args = UnlearningConfig(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        **{"num_train_epochs": STEPS, "learning_rate": 1e-3, "stop_at_chance": False, **PDU, **options},
    )
    return UnlearningTrainer(tiny.tiny_llama(tokenizer, scale=2.0), args, tiny.FORGET, tiny.RETAIN, tokenizer)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def uninterrupted(tokenizer, tmp_path_factory):
    run = trainer(tokenizer, tmp_path_factory.mktemp("whole"))
    run.train()
    return flat(run.model)


def test_a_run_that_had_stopped_when_it_was_killed_takes_no_further_step(tokenizer, tmp_path):
    """Stopped below chance, and killed before the model was saved."""
    falling = {"objective": "GA", "objective_options": {}, "learning_rate": 1e-2, "stop_at_chance": True}
    every = {"logging_steps": 3, "save_strategy": "steps", "save_steps": 3}
    options = {**falling, **every, "num_train_epochs": 20}
    first = trainer(tokenizer, tmp_path, **options)
    first.train()
    assert 1 < first.state.global_step < first.state.max_steps
    logged = (tmp_path / "train_log.jsonl").read_bytes()
    second = trainer(tokenizer, tmp_path, **options)
    second.train(resume_from_checkpoint=True)
    assert second.state.global_step == first.state.global_step
    assert torch.equal(flat(second.model), flat(first.model))
    assert (tmp_path / "train_log.jsonl").read_bytes() == logged


def half(function, kill):
    """`function`, done and then half undone where it wrote a file, and killed."""

    def wrapped(*args, **kwargs):
        function(*args, **kwargs)
        for written in (Path(a) for a in args if isinstance(a, (str, Path))):
            for file in written.rglob("*") if written.is_dir() else [written]:
                if file.is_file():
                    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        kill()

    return wrapped


def half_removed(kill):
    """A removal of a folder that comes as far as its second file."""
    whole = shutil.rmtree

    def removed(path, *args, **kwargs):
        files = sorted(Path(path).iterdir())
        for file in files[:2]:
            whole(file) if file.is_dir() else file.unlink()
        kill()

    return removed


# Moments in the writing of the third checkpoint, and in the removal of the second: what is wrapped there.
MOMENTS = {
    "weights": (PreTrainedModel, "save_pretrained"),
    "optimiser": (Trainer, "_save_optimizer_and_scheduler"),
    "random state": (Trainer, "_save_rng_state"),
    "trainer state": (TrainerState, "save_to_json"),
    "objective weights": ("expunge.training.term_weights.write_json",),
    "mark": (Path, "touch"),
    "old mark": (Path, "unlink"),
    "old files": (shutil, "rmtree"),
}


def kill_at(moment, run, monkeypatch, error=Killed):
    """Have the run killed at a moment of its third checkpoint."""

    def kill():
        if run.state.global_step == 3:
            raise error("no more")

    where = MOMENTS[moment]
    if moment == "old files":
        wrapper = half_removed(kill)
        real = shutil.rmtree
        monkeypatch.setattr(
            shutil, "rmtree", lambda *a, **k: (wrapper if run.state.global_step == 3 else real)(*a, **k)
        )
        return
    if len(where) == 1:
        module, _, name = where[0].rpartition(".")
        target = __import__(module, fromlist=[name])
        real = getattr(target, name)
        monkeypatch.setattr(
            target, name, lambda *a, **k: (half(real, kill) if run.state.global_step == 3 else real)(*a, **k)
        )
        return
    owner, name = where
    real = getattr(owner, name)

    def patched(self, *args, **kwargs):
        third = run.state.global_step == 3
        if moment == "mark":
            kill()
        if moment == "old mark" and not (third and self.name == WHOLE):
            return real(self, *args, **kwargs)
        result = (half(real, lambda: None) if third and "mark" not in moment else real)(self, *args, **kwargs)
        kill()
        return result

    monkeypatch.setattr(owner, name, patched)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_moment_of_a_checkpoint_loses_no_bit(moment, tokenizer, uninterrupted, tmp_path, monkeypatch):
    killed = trainer(tokenizer, tmp_path)
    with monkeypatch.context() as patch:
        kill_at(moment, killed, patch)
        with pytest.raises(Killed):
            killed.train()
    good = last_whole_checkpoint(tmp_path)
    assert good is not None
    resumed = trainer(tokenizer, tmp_path)
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(flat(resumed.model), uninterrupted)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{STEPS}"]


# What the libraries raise where a disk is full.
FULL = {
    "weights": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "optimiser": RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file"),
    "random state": RuntimeError("basic_ios::clear: iostream error"),
    "trainer state": OSError(28, "No space left on device"),
}


@pytest.mark.parametrize("moment", thinned(FULL, "weights", "optimiser"))
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(moment, model_folder, data, tmp_path, monkeypatch, capsys):
    from expunge.cli.main import main
    from expunge.models import load_model

    def unlearn(out, *more):
        words = ["unlearn", "--model", model_folder, "--forget", data / "forget.jsonl", "--quiet", "--out", out]
        words += ["--retain", data / "retain.jsonl", "--objective", "NPO+GD", "train.use_cpu=true"]
        words += ["train.learning_rate=1e-3", "train.num_train_epochs=4", *more]
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
        try:
            main()
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    assert unlearn(tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        owner, name = MOMENTS[moment]
        real, calls = getattr(owner, name), []

        def full(self, *args, **kwargs):
            calls.append(1)
            if len(calls) == 3:
                raise FULL[moment]
            return real(self, *args, **kwargs)

        patch.setattr(owner, name, full)
        code, error = unlearn(tmp_path / "run")
    assert code == 1
    assert len(error.splitlines()) == 1
    assert "space" in error or "full" in error
    assert "--resume" in error
    assert last_whole_checkpoint(tmp_path / "run.unfinished").endswith("checkpoint-2")
    assert unlearn(tmp_path / "run", "--resume") == (0, "")
    whole, run = (load_model(tmp_path / name, device="cpu")[0] for name in ("whole", "run"))
    assert torch.equal(flat(whole), flat(run))


def test_the_newest_is_the_one_of_the_most_steps(tmp_path):
    for step in (8, 10, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / WHOLE).touch()
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    checkpoints.remove_checkpoint(tmp_path / "checkpoint-10")
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")


def test_what_cannot_be_gone_on_from_is_refused(tokenizer, tmp_path):
    weights_alone = trainer(tokenizer, tmp_path / "weights", save_only_model=True)
    weights_alone.train()
    with pytest.raises(InputError, match=r"train\.save_only_model=true cannot be resumed"):
        trainer(tokenizer, tmp_path / "weights").train(resume_from_checkpoint=True)
    trainer(tokenizer, tmp_path / "run").train()
    (tmp_path / "run" / "checkpoint-4" / WHOLE).unlink()
    with pytest.raises(InputError, match="checkpoint-4 was not written to its end"):
        trainer(tokenizer, tmp_path / "run").train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))


def test_a_new_run_in_the_same_folder_never_goes_on_from_an_old_checkpoint(tokenizer, uninterrupted, tmp_path):
    trainer(tokenizer, tmp_path, learning_rate=1e-2).train()
    again = trainer(tokenizer, tmp_path, num_train_epochs=2)
    again.train()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
