import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

import expunge
import tinymodels
from expunge.cli.main import main

# Processes that tests start import the package that the tests import, whichever else is installed.
SOURCE = str(Path(expunge.__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SOURCE, os.environ.get("PYTHONPATH"))))


@pytest.fixture(scope="session", autouse=True)
def _private_home(tmp_path_factory):
    """Keep the salt of fingerprints, and whatever else is kept per user, out of the user's home."""
    os.environ["EXPUNGE_HOME"] = str(tmp_path_factory.mktemp("expunge-home"))


@pytest.fixture(scope="session")
def tokenizer():
    return tinymodels.tiny_tokenizer(tinymodels.TEXTS)


@pytest.fixture
def model(tokenizer):
    return tinymodels.tiny_llama(tokenizer)


@pytest.fixture(scope="session")
def model_folder(tokenizer, tmp_path_factory):
    """A saved tiny model with its tokenizer."""
    folder = tmp_path_factory.mktemp("target")
    tinymodels.tiny_llama(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """forget.jsonl, retain.jsonl and idk.txt in one folder."""
    import json

    folder = tmp_path_factory.mktemp("data")
    for name, rows in (("forget", tinymodels.FORGET), ("retain", tinymodels.RETAIN)):
        lines = [json.dumps({"question": r.prompt, "answer": r.completion}) for r in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "idk.txt").write_text("\n".join(tinymodels.REFUSALS) + "\n")
    return folder


@pytest.fixture(name="expunge")
def expunge_command(monkeypatch, capsys):
    """Run the command line in this process; returns what it wrote to both streams."""

    def run(*arguments, code=0):
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, arguments)])
        try:
            main()
            ended = 0
        except SystemExit as stop:
            ended = stop.code or 0
        found = capsys.readouterr()
        assert ended == code, found.err
        return found

    return run
