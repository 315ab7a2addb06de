"""A tiny model that has learned its forget rows, and requests about them."""

import json

import pytest

import tinymodels
from expunge.data import Row
from expunge.training import finetune

SETTINGS = (
    *("train.use_cpu=true", "train.learning_rate=3e-3", "train.num_train_epochs=8", "train.warmup_steps=0"),
    *("train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=1"),
)
REQUESTS = {"r1": tinymodels.FORGET[:2], "r2": tinymodels.FORGET[2:4], "r3": tinymodels.FORGET[4:]}


def write(path, rows: list[Row]):
    path.write_text("".join(json.dumps({"question": r.prompt, "answer": r.completion}) + "\n" for r in rows))
    return path


@pytest.fixture(scope="session")
def knowing(tokenizer, tmp_path_factory):
    """A model that says every row of both sets."""
    folder = tmp_path_factory.mktemp("knowing") / "model"
    model = tinymodels.tiny_llama(tokenizer, hidden=64, scale=1.0)
    rows = tinymodels.FORGET + tinymodels.RETAIN
    options = {"use_cpu": True, "learning_rate": 5e-3, "num_train_epochs": 60, "per_device_train_batch_size": 12}
    finetune(model, tokenizer, rows, folder, options, quiet=True)
    return folder


@pytest.fixture(scope="session")
def sets(tmp_path_factory):
    """r1.jsonl, r2.jsonl, r3.jsonl, and retain.jsonl, which holds the first request's first row too."""
    folder = tmp_path_factory.mktemp("sets")
    for name, rows in REQUESTS.items():
        write(folder / f"{name}.jsonl", rows)
    first = REQUESTS["r1"][0]
    shouted = tinymodels.qa(first.prompt.upper() + " ", first.completion)
    write(folder / "retain.jsonl", [*tinymodels.RETAIN, shouted])
    return folder


@pytest.fixture
def begun(expunge, knowing, sets, tmp_path):
    """Makes a ledger with requests that nobody has processed."""

    def make(*ids, options=("--objective", "NPO+GD")):
        folder = tmp_path / "ledger"
        words = ["ledger", "init", folder, "--model", knowing, "--retain", sets / "retain.jsonl", *SETTINGS]
        expunge(*words, *options)
        for name in ids:
            expunge("ledger", "add", folder, "--forget", sets / f"{name}.jsonl", "--id", name, "--note", f"of {name}")
        return folder

    return make
