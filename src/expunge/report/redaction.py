"""Hiding what a shared report must not show. Done once, before anything is put on the page.

Hidden are the texts of forget sets, what a model says on other sets unless it is their own answer (an unlearned model
may say a forgotten name anywhere), and every name that a user chose and that may be a person's: of files, folders,
models and runs. Settings are shown only where their texts are known to name a method. Numbers stay.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from expunge.evaluation.results.schema import Measurement, Results
from expunge.metrics import METRICS
from expunge.report.comparison import Comparison, Example, RunResult
from expunge.runs import ENVIRONMENT, EXAMPLES_SUFFIX, RECIPE, TRAIN_LOG

SHOWN_SETTINGS = re.compile(
    r"(objective|lora|versions|fingerprints|rows)(\..*)?"
    r"|train\.(lr_scheduler_type|optim|save_strategy|logging_strategy|eval_strategy)"
    r"|dtype|precision|quantization|attention|platform|device|started"
)
"""Keys of recipe and environment whose texts are no user's words; numbers and yes-or-no are shown anywhere."""
PATH = re.compile(r"\S*[/\\]\S*")
_OUR_REASONS = {metric.why_null for metric in METRICS}

Hide = Callable[[str], str]


def redact(comparison: Comparison) -> Comparison:
    """The comparison as a page may show it that others read; see `hiding`."""
    hide, names = hiding(), _names(comparison)
    return Comparison(
        runs=tuple(_model(run, name, hide) for run, name in zip(comparison.runs, names, strict=True)),
        target=comparison.target and _model(comparison.target, comparison.target.name, hide),
        retain=comparison.retain and _model(comparison.retain, comparison.retain.name, hide),
    )


def hiding() -> Hide:
    """A function that replaces a text by its length and a digest.

    The digest's salt is drawn for each report and kept nowhere: it cannot be looked up by guessing names, nor linked
    over two reports. Within a report equal digests mean equal texts, which shows verbatim answers without the words.
    """
    salt = secrets.token_bytes(32)

    def hide(text: str) -> str:
        if not text:
            return text
        digest = hmac.new(salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:10]
        return f"[hidden: {len(text)} characters, digest {digest}]"

    return hide


def _names(comparison: Comparison) -> list[str]:
    """Objectives in place of folder names, numbered where several have the same."""
    named = [run.objective or "run" for run in comparison.runs]
    named = ["custom objective" if PATH.fullmatch(name) else name for name in named]
    return [name if named.count(name) == 1 else f"{name} #{i}" for i, name in enumerate(named, 1)]


def _model(model: RunResult, name: str, hide: Hide) -> RunResult:
    return replace(
        model,
        name=name,
        results=_results(model.results, hide),
        examples=tuple((_example if model.kind(e.set) == "forget" else _said)(e, hide) for e in model.examples),
        recipe=_settings(model.recipe, hide),
        environment=_settings(model.environment, hide),
        missing={_file(file): why for file, why in model.missing.items()},
    )


def _example(example: Example, hide: Hide) -> Example:
    generation = None if example.generation is None else hide(example.generation)
    return replace(example, question=hide(example.question), answer=hide(example.answer), generation=generation)


def _said(example: Example, hide: Hide) -> Example:
    if example.generation is None or example.generation.strip() == example.answer.strip():
        return example
    return replace(example, generation=hide(example.generation))


def _results(results: Results, hide: Hide) -> Results:
    """Where the model and the rows were read from, also inside the reasons for what was not measured."""
    private = sorted({results.model.path, results.data.spec} - {""}, key=len, reverse=True)

    def told(reason: str) -> str:
        if reason in _OUR_REASONS:
            return reason
        for text in private:
            reason = reason.replace(text, hide(text))
        return PATH.sub(lambda found: hide(found.group()), reason)

    def measured(measurement: Measurement) -> Measurement:
        return replace(measurement, reason=None if measurement.reason is None else told(measurement.reason))

    left_out = {name: told(why) for name, why in results.data.left_out.items()}
    return replace(
        results,
        model=replace(results.model, path=hide(results.model.path)),
        data=replace(results.data, spec=hide(results.data.spec), left_out=left_out),
        metrics={key: measured(measurement) for key, measurement in results.metrics.items()},
        summary=replace(results.summary, reasons={key: told(why) for key, why in results.summary.reasons.items()}),
    )


def _settings(settings: Mapping[str, Any], hide: Hide) -> dict[str, Any]:
    """The settings, texts hidden but for those under SHOWN_SETTINGS."""

    def shown(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {inner: shown(f"{key}.{inner}", deeper) for inner, deeper in value.items()}
        if value is None or isinstance(value, bool | int | float):
            return value
        known = SHOWN_SETTINGS.fullmatch(key) and not any(map(PATH.fullmatch, _texts(value)))
        return value if known else hide(str(value))

    return {key: shown(key, value) for key, value in settings.items()}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    else:
        yield str(value)


def _file(name: str) -> str:
    """A file that lies beside every run is named; a table of examples has the name of the user's results file."""
    if name in (RECIPE, TRAIN_LOG, ENVIRONMENT):
        return name
    return f"*{EXAMPLES_SUFFIX}" if name.endswith(EXAMPLES_SUFFIX) else f"*{PurePath(name).suffix}"
