"""What a result depends on. A finished table is used again only if every one of these is the same."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

import expunge
from expunge.evaluation.encoders import Judge
from expunge.evaluation.engine import Vllm
from expunge.evaluation.judging import Judges, Later
from expunge.evaluation.results import Results
from expunge.evaluation.sets import EvaluationData
from expunge.evaluation.suite import Suite
from expunge.models import fingerprint, fingerprint_json, fingerprint_rows, fingerprint_tokenizer

ROOMS = ("data", "evaluation", "metrics", "models")


def data_section(data: EvaluationData) -> dict[str, Any]:
    """The section `data` of results.json. Rows are hashed with this machine's salt: names could be guessed."""
    return {
        "spec": data.spec,
        "forget_split": data.forget_split,
        "sets": {name: {"rows": len(rows), "fingerprint": fingerprint_rows(rows)} for name, rows in data.sets.items()},
        "left_out": dict(data.left_out),
    }


def recipe_section(
    suite: Suite,
    tokenizer: PreTrainedTokenizerBase,
    judges: Judges,
    vllm: Vllm | None = None,
    original: Results | None = None,
) -> dict[str, Any]:
    """The section `recipe` of results.json: the settings that the numbers depend on. Batch sizes are none of them.

    The fingerprint is of what all models of an evaluation share; the original model, which the unlearned one alone is
    compared with, stands beside it.
    """
    settings = {
        "suite": suite.name,
        "metrics": [metric.name for metric in suite.metrics],
        "max_tokens": suite.max_tokens,
        "limit_counts_prompt": suite.limit_counts_prompt,
        "tokenizer": fingerprint_tokenizer(tokenizer),
        "embedding_model": _judge(judges.embedder),
        "nli_model": _judge(judges.entailer),
        "classifiers": {name: _judge(judge) for name, judge in judges.classifiers.items()},
        "reward_model": _judge(judges.reward),
        "fluency_model": _judge(judges.fluency),
        "generator": "expunge" if vllm is None else f"vllm {vllm.version}",
    }
    asked = original is not None and any("original" in metric.needs for metric in suite.metrics)
    compared = [original.model["fingerprint"], original.recipe["tokenizer"]] if asked else None
    return settings | {"fingerprint": fingerprint_json(settings), "original": compared}


@cache
def code_section() -> dict[str, str]:
    """The section `code` of results.json: version, and digest of every source file that numbers depend on."""
    digest = hashlib.blake2b(digest_size=16)
    home = Path(expunge.__file__).parent
    for file in sorted(file for room in ROOMS for file in (home / room).rglob("*.py")):
        digest.update(str(file.relative_to(home)).encode() + b"\0" + file.read_bytes())
    return {"version": expunge.__version__, "fingerprint": digest.hexdigest()}


def same(raw: Mapping[str, Any], model: str, data: Mapping[str, Any], recipe: Mapping[str, Any]) -> bool:
    """Whether stored results are of this model, these rows, these settings and this code.

    Args:
        raw: the stored results.json.
        model: fingerprint of the weights.
        data: the section `data`.
        recipe: the section `recipe`.
    """
    return (
        raw["model"]["fingerprint"] == model
        and raw["data"]["sets"] == data["sets"]
        and raw["recipe"] == recipe
        and raw["code"] == code_section()
    )


def _judge(judge: Judge | Later | None) -> dict[str, str] | None:
    if isinstance(judge, Later):
        return {"name": judge.name, "fingerprint": judge.fingerprint} | ({"label": judge.label} if judge.label else {})
    return None if judge is None else {"name": judge.name, "fingerprint": fingerprint(judge.model)}
