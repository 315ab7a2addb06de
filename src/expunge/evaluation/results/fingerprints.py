"""What a result depends on. A finished table is used again only if every one of these is the same."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

import expunge
from expunge.data import PromptStyle
from expunge.evaluation.judges import JUDGES, Judge
from expunge.evaluation.passes.vllm import Vllm
from expunge.evaluation.results.schema import Data, Model, Results, RowSet
from expunge.evaluation.suites.sets import EvaluationData
from expunge.evaluation.suites.suite import Suite
from expunge.metrics import METRICS, Metric
from expunge.models import (
    fingerprint,
    fingerprint_code,
    fingerprint_config,
    fingerprint_json,
    fingerprint_rows,
    fingerprint_tokenizer,
    salted_digest,
)

ROOMS = ("data", "evaluation", "metrics", "models")
# Whose arithmetic or rules numbers are made by.
LIBRARIES = ("nltk", "numpy", "peft", "rouge-score", "sacrebleu", "scipy", "tokenizers", "torch", "transformers")


def model_section(path: str, model: PreTrainedModel) -> Model:
    """The section `model` of results.json."""
    return Model(path, fingerprint(model), fingerprint_config(model))


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
    definition: str,
    tokenizer: PreTrainedTokenizerBase,
    judges: Sequence[Judge],
    vllm: Vllm | None = None,
    original: Results | None = None,
    style: PromptStyle = PromptStyle(),
    precision: str = "float32",
) -> dict[str, Any]:
    """The section `recipe` of results.json: the settings that the numbers depend on. Batch sizes are none of them.

    The fingerprint is of what all models of an evaluation share; the original model, which the unlearned one alone is
    compared with, stands beside it, as do the words of metrics that expunge does not have.

    Args:
        suite: with the metrics that belong to the judges.
        definition: fingerprint of the suite as it was asked for, without them.
        tokenizer: of the model.
        judges: with their models.
        vllm: which answered the prompts.
        original: results of the model before unlearning.
        style: how conversations are written.
        precision: what the models compute in.
    """
    shipped = {metric.name for metric in METRICS}
    words = {metric.name: _words(metric) for metric in suite.metrics if metric.name not in shipped}
    settings = {
        "suite": suite.name,
        "suite_fingerprint": definition,
        "metrics": [metric.name for metric in suite.metrics],
        "max_tokens": suite.max_tokens,
        "limit_counts_prompt": suite.limit_counts_prompt,
        "leading": [list(names) for names in suite.leading],
        "tokenizer": fingerprint_tokenizer(tokenizer),
        "prompts": asdict(style),
        "precision": precision,
        **{kind.setting: None for kind in JUDGES},
        **{judge.setting: judge.identity() for judge in judges},
        "generator": "expunge" if vllm is None else f"vllm {vllm.version}",
    }
    asked = original is not None and any("original" in metric.needs for metric in suite.metrics)
    compared = [original.model.fingerprint, original.recipe["tokenizer"]] if original and asked else None
    return settings | {"fingerprint": fingerprint_json(settings), "original": compared, "words": words}


def _words(metric: Metric) -> dict[str, Any]:
    """How reports speak of a metric."""
    label = metric.label or metric.name.replace("_", " ")
    return {"label": label, "meaning": metric.meaning, "share": metric.share, "yes_no": metric.yes_no}


@cache
def code_section() -> dict[str, str]:
    """The section `code` of results.json: version, and digest of every source file and library numbers depend on."""
    digest = fingerprint_json([fingerprint_code(*ROOMS), [version(library) for library in LIBRARIES]])
    return {"version": expunge.__version__, "fingerprint": digest}


def measured_key(model: Model, data: Data, recipe: Mapping[str, Any]) -> str:
    """Hash everything that the passes over a model depend on: what an unfinished evaluation is continued by."""
    sets = {name: [rows.rows, rows.fingerprint] for name, rows in data.sets.items()}
    return fingerprint_json([model.fingerprint, model.configuration, sets, recipe["fingerprint"], code_section()])


def same(stored: Results, model: Model, data: Data, recipe: Mapping[str, Any]) -> bool:
    """Whether stored results are of this model, these rows, these settings and this code.

    Args:
        stored: the results of an earlier evaluation.
        model: the section `model`; its path makes no difference.
        data: the section `data`.
        recipe: the section `recipe`.
    """
    return (
        (stored.model.fingerprint, stored.model.configuration) == (model.fingerprint, model.configuration)
        and stored.data.sets == data.sets
        and stored.recipe == recipe
        and stored.code == code_section()
    )
