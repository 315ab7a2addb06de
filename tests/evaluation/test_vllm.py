"""Answers by vLLM: what is asked, and what is made of it, with a stand-in for its interface in a process of its own."""

import json
import os
import sys

import pytest
import torch
from typer.testing import CliRunner

from evaluation.tiny import causal_tokenizer, evaluate, question_rows, tiny_model
from expunge.cli.main import app
from expunge.errors import InputError
from expunge.evaluation import load_results
from expunge.evaluation.passes.plan import Prompt
from expunge.evaluation.passes.vllm import check_readable, find_vllm, vllm_answers

# As in vLLM, the token that ended an answer is the last of its tokens.
INTERFACE = """
from dataclasses import dataclass

@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    stop_token_ids: list
    detokenize: bool

@dataclass
class Completion:
    token_ids: tuple

@dataclass
class Output:
    outputs: list

class LLM:
    def __init__(self, model, dtype, gpu_memory_utilization):
        assert dtype == "float32" and 0 < gpu_memory_utilization <= 0.9
        self.next_token = load(model)

    def generate(self, prompts, settings, use_tqdm):
        assert len(prompts) == len(settings)
        return [Output([Completion(self.answer(p["prompt_token_ids"], s))]) for p, s in zip(prompts, settings)]

    def answer(self, ids, settings):
        assert settings.temperature == 0 and settings.max_tokens > 0
        answer = []
        while len(answer) < settings.max_tokens and not set(answer) & set(settings.stop_token_ids):
            answer.append(self.next_token([*ids, *answer]))
        return tuple(answer)
"""
GREEDY = """
def load(model):
    import torch
    from transformers import AutoModelForCausalLM
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    return lambda ids: int(loaded(torch.tensor([ids])).logits[0, -1].argmax())
"""
COUNTING = """
def load(model):
    return len  # the next token is the number of tokens so far
"""


@pytest.fixture
def folder(tmp_path) -> str:
    path = tmp_path / "model"
    tiny_model().save_pretrained(path)
    causal_tokenizer().save_pretrained(path)
    return str(path)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Makes this Python one that has a module of this source in place of vLLM."""

    def make(source: str) -> str:
        home = tmp_path / "site"
        (home / "vllm-9.9.dist-info").mkdir(parents=True)
        (home / "vllm-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 9.9\n")
        (home / "vllm.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(home))
        return sys.executable

    return make


@pytest.mark.slow
def test_answers_are_those_of_our_generator(folder, environment, tmp_path) -> None:
    rows = [{"prompt": row.prompt, "completion": row.completion} for row in question_rows(["ada", "bob", "eve"])]
    (tmp_path / "forget.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {"model": folder, "suite": "own", "data": tmp_path / "forget.jsonl", "out": tmp_path / "results.json"}
    ours = evaluate(**options)
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = CliRunner().invoke(
        app, ["eval", *words, "--vllm", environment(INTERFACE + GREEDY), "--json"], catch_exceptions=False
    )
    theirs, table = json.loads(done.stdout), load_results(options["out"]).table
    assert table["generation"].to_pylist() == ours.table["generation"].to_pylist()
    assert any(table["generation"].to_pylist())
    assert {key: m["value"] for key, m in theirs["metrics"].items()} == {k: m.value for k, m in ours.metrics.items()}
    assert (ours.recipe["generator"], theirs["recipe"]["generator"]) == ("expunge", "vllm 9.9")  # not the stored ones


def test_limits_stops_and_positions(environment) -> None:
    vllm = find_vllm(environment(INTERFACE + COUNTING))
    prompts = [Prompt((9, 9), 0), Prompt((), 5), Prompt((9, 9, 9), 7), Prompt((9,), 2), Prompt((9, 9), 3)]
    assert vllm_answers(vllm, "m", prompts, [3, 2, 1, 0], {5, 20}) == {0: [], 1: [], 2: [3, 4], 3: [1, 2]}
    assert vllm_answers(vllm, "m", prompts, [4], ()) == {4: [2, 3, 4]}


def test_what_goes_wrong_has_a_message(folder, environment, tmp_path, model, tokenizer, monkeypatch) -> None:
    data = {"forget": question_rows(["ada"])}
    with pytest.raises(InputError, match="cannot be run"):
        find_vllm(str(tmp_path / "no-python"))
    with pytest.raises(InputError, match="not installed there"):
        find_vllm(sys.executable)
    python = environment("raise RuntimeError('no CUDA device')")
    with pytest.raises(InputError, match=r"vLLM 9\.9 could not answer with .*no CUDA device"):
        evaluate(folder, suite="own", data=data, vllm=python)
    with pytest.raises(InputError, match="give a path"):
        evaluate(model, tokenizer, suite="own", data=data, vllm=python)
    with pytest.raises(InputError, match="lm-evaluation-harness"):
        evaluate(folder, suite="wmdp", vllm=python)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.safetensors").touch()
    with pytest.raises(InputError, match="this is an adapter"):
        check_readable(tmp_path / "adapter")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process"):
        evaluate(folder, suite="own", data=data, vllm=python)


@pytest.mark.gpu
@pytest.mark.slow
def test_the_real_one(folder) -> None:
    python = os.environ.get("EXPUNGE_VLLM_PYTHON")
    if python is None or not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and EXPUNGE_VLLM_PYTHON to name a Python with vLLM")
    prompts = [Prompt(tuple(causal_tokenizer()(row.prompt)["input_ids"]), 8) for row in question_rows(["ada", "bob"])]
    free = vllm_answers(find_vllm(python), folder, prompts, [0, 1], ())
    assert [len(free[i]) for i in (0, 1)] == [8, 8]
    ended = vllm_answers(find_vllm(python), folder, prompts, [0], {free[0][3]})
    assert ended[0] == free[0][: free[0].index(free[0][3])]
    ours = evaluate(folder, suite="own", data={"forget": question_rows(["ada", "bob"])})
    theirs = evaluate(folder, suite="own", data={"forget": question_rows(["ada", "bob"])}, vllm=python)
    assert theirs.table["generation"].to_pylist()[0][:3] == ours.table["generation"].to_pylist()[0][:3]
