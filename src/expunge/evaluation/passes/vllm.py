"""Greedy answers by vLLM in a separate Python environment, in place of expunge's generator.

vLLM is no dependency: it asks for exact versions of torch and for a range of transformers that expunge's does not meet,
so the two cannot share an environment. A separate process also frees all graphics memory when it has answered.
"""

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from expunge.errors import InputError
from expunge.evaluation.passes.plan import Prompt
from expunge.models import is_adapter, resolve_folder

WORKER = Path(__file__).with_name("vllm_worker.py")
MEMORY_SHARE = 0.9  # of the graphics memory that is free


@dataclass(frozen=True)
class Vllm:
    """An environment with vLLM: its Python, and the version of vLLM."""

    python: str
    version: str


def find_vllm(python: str) -> Vllm:
    """Look for vLLM in another environment.

    Raises:
        InputError: that is no Python, or vLLM is not installed there.
    """
    program = "from importlib.metadata import version; print(version('vllm'))"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True)
    except OSError as error:
        raise InputError(
            f"--vllm {python}: cannot be run ({error.strerror}). Give the Python of an environment."
        ) from None
    if done.returncode:
        raise InputError(f"--vllm {python}: vLLM is not installed there. Install it in that environment.")
    return Vllm(python, done.stdout.strip())


def check_readable(path: object) -> str:
    """The folder or Hub name that vLLM can read a model from.

    Raises:
        InputError: the model is in memory, or an adapter.
    """
    if not isinstance(path, str | Path):
        raise InputError("vLLM reads models from folders: give a path in place of a loaded model, or leave vllm out.")
    folder = resolve_folder(path)
    if is_adapter(folder):
        raise InputError(f"{path}: vLLM reads whole models, and this is an adapter. Leave --vllm out.")
    return folder


def vllm_answers(
    vllm: Vllm, folder: str, prompts: Sequence[Prompt], wanted: Sequence[int], stop: Iterable[int]
) -> dict[int, list[int]]:
    """Answer prompts greedily: the same prompts, limits and stop tokens as `generate`, in float32.

    Args:
        vllm: the environment.
        folder: of the model, which should not be in memory any more.
        prompts: distinct prompts.
        wanted: positions in `prompts`.
        stop: tokens that end an answer; they are not part of it.

    Returns:
        Token ids of the answers, by position in `prompts`.

    Raises:
        InputError: A prompt has a picture, or vLLM failed; its last line says why.
    """
    if any(prompts[i].pixels for i in wanted):
        raise InputError("vLLM is asked in text alone, and there are rows with pictures: leave --vllm out.")
    answers: dict[int, list[int]] = {i: [] for i in wanted}
    asked = [i for i in wanted if prompts[i].ids and prompts[i].new_tokens > 0]
    if not asked:
        return answers
    request = {
        "model": folder,
        "prompts": [prompts[i].ids for i in asked],
        "new_tokens": [prompts[i].new_tokens for i in asked],
        "stop": sorted(stop),
        "memory": _free_share(),
    }
    with TemporaryDirectory() as home:  # token ids of the forget set: gone with the process
        out = Path(home) / "answers.json"
        worker = shutil.copy(WORKER, home)  # Python looks for modules beside a script: here there are no others
        done = subprocess.run(
            [vllm.python, worker, str(out)], input=json.dumps(request), capture_output=True, text=True
        )
        if done.returncode or not out.is_file():
            why = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise InputError(f"vLLM {vllm.version} could not answer with {folder}: {why} Leave --vllm out, or fix it.")
        found = json.loads(out.read_text(encoding="utf-8"))
    answers.update(zip(asked, found, strict=True))
    return answers


def _free_share() -> float:
    """Which share of all graphics memory vLLM may take; its own default where there is none to look at."""
    if not torch.cuda.is_available():
        return MEMORY_SHARE
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return MEMORY_SHARE * free / total
