"""What a user sees when something is wrong: a message that names it and the fix, no traceback, nothing left behind."""

import json
import re
import shutil

import pytest
import torch

import tinymodels as tiny
from expunge.cli.main import main
from expunge.errors import InputError


@pytest.fixture
def expunge(monkeypatch, capsys):
    """Run the command line in this process; returns exit code and what it wrote to standard error."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def arguments(model_folder, data, tmp_path):
    """Options of a good `unlearn`, to be spoilt one at a time."""
    return {
        "--model": model_folder,
        "--forget": data / "forget.jsonl",
        "--retain": data / "retain.jsonl",
        "--objective": "NPO+GD",
        "--out": tmp_path / "out" / "run",
    }


def flat(arguments, *more):
    return ["unlearn", *more, "train.use_cpu=true", "--quiet", *(word for pair in arguments.items() for word in pair)]


def write(path, text):
    path.write_text(text)
    return path


def jsonl(path, *records):
    return write(path, "\n".join(map(json.dumps, records)) + "\n")


def bad_cases(tmp_path, data, model_folder):
    """What to change in the arguments, and what the message must say."""
    forget = (data / "forget.jsonl").read_text().splitlines()
    again = {name: f" {text}\n" for name, text in json.loads(forget[1]).items()}  # the same but for white space
    overlap = write(tmp_path / "overlap.jsonl", (data / "retain.jsonl").read_text() + json.dumps(again) + "\n")
    pickled = tmp_path / "pickled"
    shutil.copytree(model_folder, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    remote = tmp_path / "remote"
    shutil.copytree(model_folder, remote)
    config = json.loads((remote / "config.json").read_text())
    config |= {"model_type": "homegrown", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (remote / "config.json").write_text(json.dumps(config))
    (remote / "code.py").write_text("raise SystemExit('remote code ran')")
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    return {
        "no rows": ({"--forget": write(tmp_path / "empty.jsonl", "")}, ["empty.jsonl", "no rows"]),
        "no such file": ({"--forget": tmp_path / "nowhere.jsonl"}, ["nowhere.jsonl", "no such file"]),
        "overlap": ({"--retain": overlap}, ["overlap in 1 row(s)", "forget row 1 = retain row 7", "Remove"]),
        "no retain set": ({"--retain": None}, ["needs a retain set"]),
        "missing column": (
            {"--forget": jsonl(tmp_path / "columns.jsonl", {"question": "Who?", "reply": "Ada."})},
            ["columns.jsonl, row 0", "'question', 'reply'", "'answer'"],
        ),
        "wrong type": (
            {"--forget": jsonl(tmp_path / "type.jsonl", {"question": "Who?", "answer": 7})},
            ["type.jsonl, row 0", "'answer' must be text"],
        ),
        "truncated file": (
            {"--forget": write(tmp_path / "cut.jsonl", "\n".join(forget)[:-20])},
            ["cut.jsonl", "line 5", "truncated"],
        ),
        "not text": ({"--forget": _bytes(tmp_path / "noise.jsonl")}, ["noise.jsonl", "not UTF-8"]),
        "truncated parquet": ({"--forget": _bytes(tmp_path / "cut.parquet")}, ["cut.parquet", "Parquet"]),
        "another format": ({"--forget": write(tmp_path / "rows.xml", "<rows/>")}, ["rows.xml", ".jsonl"]),
        "prompt fills the context": (
            {"--forget": jsonl(tmp_path / "long.jsonl", {"question": "why? " * 300, "answer": "So."})},
            ["forget set, row 0", "context of 256"],
        ),
        "unknown objective": ({"--objective": "NPQ+GD"}, ["'NPQ'", "Did you mean 'NPO'"]),
        "no forget term": ({"--objective": "GD"}, ["no forget term"]),
        "not a model": ({"--model": data}, [str(data), "not a model folder"]),
        "no such model": ({"--model": tmp_path / "nothing"}, ["nothing", "no such model folder"]),
        "a file as model": ({"--model": data / "forget.jsonl"}, ["forget.jsonl: is a file", "a model is a folder"]),
        "pickled weights": ({"--model": pickled}, ["pickled", "safetensors"]),
        "truncated weights": ({"--model": broken}, ["broken", "cannot be loaded"]),
        "remote code": ({"--model": remote}, ["remote", "trust_remote_code"]),
        "no refusals": (
            {"--idk": write(tmp_path / "idk.txt", "\n\n"), "--objective": "IDK+AP"},
            ["idk.txt", "one a line"],
        ),
    }


CASES = [
    *("no rows", "no such file", "overlap", "no retain set", "missing column", "wrong type", "truncated file"),
    *("not text", "truncated parquet", "another format", "prompt fills the context", "unknown objective"),
    *("no forget term", "not a model", "no such model", "pickled weights", "truncated weights", "remote code"),
    *("a file as model", "no refusals"),
]


def _bytes(path):
    path.write_bytes(b"PAR1\xff\xfe\x00\x80" * 10)
    return path


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, expunge, arguments, tmp_path, data, model_folder):
    change, said = bad_cases(tmp_path, data, model_folder)[case]
    spoilt = {key: value for key, value in (arguments | change).items() if value is not None}
    code, error = expunge(*flat(spoilt))
    assert code == 2
    assert "Traceback" not in error
    for part in said:
        assert part in error
    left = tmp_path / "out"
    assert not left.exists() or not list(left.iterdir())


def test_every_case_is_run(tmp_path, data, model_folder):
    assert set(bad_cases(tmp_path, data, model_folder)) == set(CASES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.learning_rat=1e-5"], ["learning_rat", "Did you mean 'learning_rate'"]),
        (["train.learning_rate=fast"], ["train.learning_rate", "'fast'"]),
        (["train.num_train_epochs=0"], ["num_train_epochs"]),
        (["train.num_train_epochs=.inf"], ["num_train_epochs", "finite"]),
        (["train.num_train_epochs=1.5"], ["num_train_epochs", "whole number of passes"]),
        (["train.max_steps=0"], ["max_steps", "-1"]),
        (["train.learning_rate=-1e-5"], ["learning_rate", "greater than 0"]),
        (["train.learning_rate=.nan"], ["learning_rate", "finite"]),
        (["train.per_device_train_batch_size=0"], ["per_device_train_batch_size", "1"]),
        (["train.gradient_accumulation_steps=-1"], ["gradient_accumulation_steps", "1"]),
        (["train.seed=-1"], ["train.seed", "0"]),
        (["train.warmup_steps=-1"], ["warmup_steps", "0"]),
        (["train.noise=1.5"], ["train.noise", "1"]),
        (["train.optim=adam"], ["train.optim", "adamw_torch"]),
        (["train.lr_scheduler_type=lineal"], ["lr_scheduler_type", "linear"]),
        (["train.lr_scheduler_type=reduce_lr_on_plateau"], ["nothing is measured in training"]),
        (["train.report_to=tensorbord"], ["train.report_to", "Did you mean 'tensorboard'"]),
        (["train.report_to=comet_ml"], ["train.report_to", "not installed"]),
        (["train.label_smoothing_factor=0.1"], ["would be ignored", "the objective alone"]),
        (["train.eval_strategy=epoch"], ["would be ignored", "expunge eval"]),
        (["train.auto_find_batch_size=true"], ["would be ignored", "memory plan"]),
        (["train.gru_smoothing=0.5"], ["would be ignored", "train.gradient=gru"]),
        (["train.noise_scale=0.5"], ["would be ignored", "train.noise"]),
        (["train.save_steps=5"], ["would be ignored", "train.save_strategy=steps"]),
        (["train.data_seed=3"], ["would be ignored", "train.seed"]),
        (["objective.beta=0"], ["objective.NPO.beta", "greater than 0"]),
        (["objective.beta=-0.1"], ["objective.NPO.beta", "greater than 0"]),
        (["objective.forget_weight=.nan"], ["forget_weight", "finite"]),
        (["lora.target_modules=[nowhere]"], ["lora.target_modules", "nowhere"]),
        (["lora.alpha=-1"], ["lora.alpha", "greater than 0"]),
        (["objective.bta=1"], ["'bta'", "Did you mean 'beta'"]),
        (["objective.beta=soft"], ["objective.NPO.beta", "'soft'"]),
        (["lora.rank=8"], ["'rank'", "Known"]),
        (["lora.r=0"], ["lora.r", "greater than 0"]),
        (["lora.dropout=1"], ["lora.dropout", "less than 1"]),
        (["optimizer.lr=1"], ["'optimizer'", "Known"]),
        (["train.learning_rate"], ["SECTION.KEY=VALUE"]),
        (["train.seed=2025-13-45"], ["train.seed", "cannot be read"]),
    ],
)
def test_bad_options(words, said, expunge, arguments, tmp_path):
    code, error = expunge(*flat(arguments, *words))
    assert code == 2
    assert "Traceback" not in error
    for part in said:
        assert part in error
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("objective", "words", "said"),
    [
        ("RESET", ["objective.reset=0.7"], ["--holdout", "objective.level"]),
        ("RESET", ["objective.level=7"], ["choosing it requires", "--holdout", "objective.reset=0.7"]),
        ("RESET", ["objective.reset=0.7", "objective.level=7", "lora.r=2"], ["full training"]),
        ("RESET", ["objective.reset=0.7", "objective.level=7", "objective.layers=[5, 6]"], ["no matrix of this model"]),
        ("RESET", ["objective.reset=2"], ["objective.RESET.reset", "less than or equal to 1"]),
        ("NPO+GD", ["--anchor", "fresh"], ["anchor: NPO+GD", "leave it out"]),
    ],
)
def test_removal_says_what_it_needs(objective, words, said, expunge, arguments, tmp_path):
    test_bad_options(words, said, expunge, arguments | {"--objective": objective}, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(expunge, arguments, tmp_path):
    words = [word for word in flat(arguments, "train.bf16=true") if word != "train.use_cpu=true"]
    code, error = expunge(*words)
    assert code == 2
    assert "gpu" in error.lower()
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: m\nforget: f\nobjectiv: NPO", ["'objectiv'", "Did you mean 'objective'"]),
        ("model: m", ["'forget' is missing"]),
        ("- a\n- b", ["mapping"]),
        ("model: [m", ["not YAML"]),
        ("model: m\nforget: f\ndate: 2025-13-45", ["not YAML", "month"]),
        ("model: m\nforget: f\ntrust_remote_code: !!bool perhaps", ["not YAML"]),
        ("model: m\nforget: f\ntrain: {seed: !!int seven}", ["not YAML"]),
        ("model: m\nforget: f\ntrain: {epochs: 3}", ["'epochs'"]),
        ("model: m\nforget: f\nobjective: {beta: 3}", ["needs a name"]),
        ("model: m\nforget: f\nobjective: {name: NPO, alpha: 3}", ["'alpha'"]),
    ],
)
def test_bad_recipes(text, said, expunge, tmp_path):
    code, error = expunge("validate", write(tmp_path / "recipe.yaml", text))
    assert code == 2
    assert "Traceback" not in error
    for part in said:
        assert part in error


@pytest.mark.parametrize("out", [".", "..", "/", "", "taken", "taken/run", "run.unfinished"])
def test_no_run_is_made_at_odd_places(out, expunge, arguments, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, error = expunge(*flat(arguments | {"--out": out}))
    assert code == 2
    assert "Traceback" not in error
    assert re.search("already exists|not a folder|when it is finished", error)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda 1", "meta"])
def test_a_device_that_is_not_there(device, expunge, model_folder, data, tmp_path):
    words = ["eval", "--suite", "own", "--model", model_folder, "--data", data, "--device", device]
    code, error = expunge(*words, "--out", tmp_path / "results.json")
    assert (code, f"device '{device}' cannot be used here" in error) == (2, True)


def test_python_refuses_what_the_command_line_refuses(tmp_path):
    from expunge import UnlearningConfig

    for options in ({"learning_rate": -1.0}, {"seed": -1}, {"label_smoothing_factor": 0.1}, {"num_train_epochs": 0.5}):
        with pytest.raises(InputError, match=f"train.{next(iter(options))}"):
            UnlearningConfig(str(tmp_path), use_cpu=True, **options)


def test_an_existing_run_is_not_overwritten(expunge, arguments):
    arguments["--out"].mkdir(parents=True)
    code, error = expunge(*flat(arguments))
    assert (code, "already exists" in error) == (2, True)


def test_an_unfinished_run_is_not_overwritten_and_nothing_is_resumed_that_is_not_there(expunge, arguments, tmp_path):
    code, error = expunge("unlearn", "--resume", "--out", tmp_path / "out" / "run")
    assert (code, "no unfinished run" in error) == (2, True)
    begun = tmp_path / "out" / "run.unfinished" / "environment.json"
    begun.parent.mkdir(parents=True)
    begun.write_text("{}")
    code, error = expunge(*flat(arguments))
    assert (code, "--resume" in error) == (2, True)
    assert begun.exists()


def test_the_guard_stops_with_3_names_term_and_step_and_keeps_the_last_good_checkpoint(expunge, arguments, tmp_path):
    words = ["train.learning_rate=1e30", "train.lr_scheduler_type=constant_with_warmup", "train.warmup_steps=2"]
    small = ["train.per_device_train_batch_size=1", "train.gradient_accumulation_steps=1", "train.max_grad_norm=0"]
    steps = ["train.save_strategy=steps", "train.save_steps=1", "train.num_train_epochs=4"]
    code, error = expunge(*flat(arguments, *words, *small, *steps))
    assert code == 3
    assert "term NPO" in error or "term GD" in error
    assert "Step " in error
    assert "The last good checkpoint is" in error
    assert not arguments["--out"].exists()
    kept = list((tmp_path / "out" / "run.unfinished").glob("checkpoint-*/model.safetensors"))
    assert kept
    from safetensors.torch import load_file

    assert all(value.isfinite().all() for value in load_file(kept[0]).values())


def test_a_tokenizer_without_a_template_falls_back_and_says_so(expunge, arguments, tmp_path):
    plain = tmp_path / "plain"
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS, template=None)
    tiny.tiny_llama(tokenizer).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    code, error = expunge(*flat(arguments | {"--model": plain}, "train.num_train_epochs=1"))
    assert code == 0
    assert "no chat template" in error
