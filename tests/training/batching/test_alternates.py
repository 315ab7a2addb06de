"""Sampling is dealt to processes, and who samples changes no answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinymodels as tiny
from expunge.training.batching import alternates
from expunge.training.batching.alternates import prepare_alternates, sample_alternates

ROWS = [tiny.qa(f"How old is person {i}?", f"{20 + i} years.") for i in range(40)]

SCRIPT = """
import sys, torch
sys.path.insert(0, {tests!r})
from pathlib import Path
from accelerate import PartialState
import tinymodels as tiny
from expunge.training.batching import alternates
from training.batching.test_alternates import ROWS, target

state = PartialState(cpu=True)
tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
drawn, asked = alternates.sample_alternates, []
alternates.sample_alternates = lambda *given: asked.append(drawn(*given)) or asked[-1]
for name in ("same", "only the first"):
    model = target(tokenizer)
    if name != "same" and state.process_index:
        for parameter in model.parameters():
            parameter.data.zero_()
    alternates.prepare_alternates(Path(sys.argv[1]) / name, model, tokenizer, ROWS, 3, True)
counts = torch.tensor([len(answers) for answers in asked])
(Path(sys.argv[1]) / f"{{state.process_index}}.json").write_text(str(counts.tolist()))
state.wait_for_everyone()
torch.distributed.destroy_process_group()
"""


def target(tokenizer):
    return tiny.tiny_llama(tokenizer, scale=2.0)


def test_shares_add_up_to_the_whole(tokenizer):
    model = target(tokenizer)
    whole, *parts = (
        sample_alternates(model, tokenizer, ROWS, 3, True, share)
        for share in (slice(None), slice(0, None, 2), slice(1, None, 2))
    )
    assert parts[0].keys().isdisjoint(parts[1])
    assert min(map(len, parts)) > 0
    assert parts[0] | parts[1] == whole


def test_what_is_to_be_forgotten_is_no_alternative(tokenizer, monkeypatch):
    """A true answer, or none, is drawn again."""
    drawn = [[row.completion, "", "Another."] for row in ROWS[:2]]

    turns = []
    monkeypatch.setattr(alternates, "_draw", lambda *given: turns.append(len(given[2])) or [t.pop(0) for t in drawn])
    found = sample_alternates(target(tokenizer), tokenizer, ROWS[:2], 3, True)
    assert found == {0: "Another.", 1: "Another."}
    assert turns == [2, 2, 2]


def test_answers_are_found_again_and_not_after_a_change(tokenizer, tmp_path):
    model = target(tokenizer)
    first = prepare_alternates(tmp_path, model, tokenizer, ROWS, 3, True)
    model.lm_head.weight.data.mul_(1.0)
    assert prepare_alternates(tmp_path, model, tokenizer, ROWS, 3, True) == first
    model.lm_head.weight.data.mul_(0.5)
    assert prepare_alternates(tmp_path, model, tokenizer, ROWS, 3, True) != first


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_share_the_work_and_give_what_one_gives(tokenizer, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[2])))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    subprocess.run([*launch, str(tmp_path)], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=200)
    alone = prepare_alternates(tmp_path / "alone", target(tokenizer), tokenizer, ROWS, 3, True)
    for name in ("same", "only the first"):
        assert json.loads((tmp_path / name / "alternates.json").read_text())["answers"] == alone
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [[24, 40], [16, 0]]
