"""What real commands write to standard error: nothing of the libraries', bitsandbytes only where asked for."""

import os
import re
import subprocess
import sys

import pytest
from transformers import BertModel

from evaluation.tiny import bert_folder

# Says at the end whether bitsandbytes was imported on the way.
PROGRAM = """
import sys
from expunge.cli.main import main
try:
    main()
finally:
    print("bitsandbytes" if "bitsandbytes" in sys.modules else "no bitsandbytes")
"""
SMALL = ("train.use_cpu=true", "train.num_train_epochs=1", "train.learning_rate=1e-3", "train.save_strategy=no")


def run(*words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRANSFORMERS")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)], env=environment, capture_output=True, text=True, timeout=200
    )


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["lora.r=2"], ["--quantization", "nf4", "lora.r=2"]], ids=["all", "lora", "nf4"])
def test_unlearn_says_nothing_but_its_own(more, model_folder, data, tmp_path):
    quantized = "nf4" in more
    if quantized:
        pytest.importorskip("bitsandbytes")
    sets = ("--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl")
    done = run("unlearn", "--model", model_folder, *sets, "--out", tmp_path / "run", "--quiet", *SMALL, *more)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ("bitsandbytes" if quantized else "no bitsandbytes")
    if not quantized:
        assert done.stderr == ""
    if "lora.r=2" in more:  # an adapter is loaded without it too
        words = ("loss", "--model", tmp_path / "run", *sets[:2], "--objective", "GA")
        done = run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "no bitsandbytes"


@pytest.mark.slow
def test_eval_with_an_embedding_model_says_nothing_but_its_own(model_folder, data, tmp_path):
    bert_folder(tmp_path / "encoder", BertModel)
    out = tmp_path / "results.json"
    words = ("eval", "--model", model_folder, "--suite", "own", "--data", data, "--out", out)
    done = run(*words, "--embedding-model", tmp_path / "encoder")
    assert done.returncode == 0, done.stderr
    assert not re.search("Loading|Failed|arning", done.stderr)
    assert done.stdout.splitlines()[-1] == "no bitsandbytes"


def test_bitsandbytes_is_there_afterwards():
    pytest.importorskip("bitsandbytes")
    program = "import expunge.training, sys; before = 'bitsandbytes' in sys.modules"
    program += "; import bitsandbytes; from peft.import_utils import is_bnb_available, is_bnb_4bit_available"
    program += "; print(before, is_bnb_available(), is_bnb_4bit_available())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
