"""What a result depends on. A finished table is used again only if every one of these is the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from transformers import PreTrainedTokenizerBase

import expunge
from expunge.data import PromptStyle
from expunge.evaluation.judges import JUDGES, Judge
from expunge.evaluation.passes.vllm import Vllm
from expunge.evaluation.results.schema import Data, Results, RowSet
from expunge.evaluation.suites.sets import EvaluationData
from expunge.evaluation.suites.suite import Suite
from expunge.models import fingerprint_code, fingerprint_json, fingerprint_rows, fingerprint_tokenizer, salted_digest

ROOMS = ("data", "evaluation", "metrics", "models")


def data_section(data: EvaluationData, suite: Suite) -> Data:
    """The section `data` of results.json. Rows are hashed with this machine's salt: names could be guessed."""
    specs = {spec.name: spec for spec in suite.sets}
    return Data(
        spec=data.spec,
        salt=salted_digest(""),
        forget_split=data.forget_split,
        sets={
            name: RowSet(len(rows), fingerprint_rows(rows), specs[name].kind, specs[name].label)
            for name, rows in data.sets.items()
        },
        left_out=dict(data.left_out),
    )


def recipe_section(
    suite: Suite,
    tokenizer: PreTrainedTokenizerBase,
    judges: Sequence[Judge],
    vllm: Vllm | None = None,
    original: Results | None = None,
    style: PromptStyle = PromptStyle(),
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
        "leading": [list(names) for names in suite.leading],
        "tokenizer": fingerprint_tokenizer(tokenizer),
        "prompts": asdict(style),
        **{kind.setting: None for kind in JUDGES},
        **{judge.setting: judge.identity() for judge in judges},
        "generator": "expunge" if vllm is None else f"vllm {vllm.version}",
    }
    asked = original is not None and any("original" in metric.needs for metric in suite.metrics)
    compared = [original.model.fingerprint, original.recipe["tokenizer"]] if original and asked else None
    return settings | {"fingerprint": fingerprint_json(settings), "original": compared}


def code_section() -> dict[str, str]:
    """The section `code` of results.json: version, and digest of every source file that numbers depend on."""
    return {"version": expunge.__version__, "fingerprint": fingerprint_code(*ROOMS)}


def same(stored: Results, model: str, data: Data, recipe: Mapping[str, Any]) -> bool:
    """Whether stored results are of this model, these rows, these settings and this code.

    Args:
        stored: the results of an earlier evaluation.
        model: fingerprint of the weights.
        data: the section `data`.
        recipe: the section `recipe`.
    """
    return (
        stored.model.fingerprint == model
        and stored.data.sets == data.sets
        and stored.recipe == recipe
        and stored.code == code_section()
    )
