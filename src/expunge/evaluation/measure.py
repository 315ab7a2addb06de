"""The public entry: evaluate a model, and its retain and target models where they are given."""

import gc
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from expunge.data import PromptStyle, Row, fitting
from expunge.data.processors import tokenizer_of
from expunge.errors import InputError
from expunge.evaluation.judges import Judge, Outputs, open_judges
from expunge.evaluation.passes import processes
from expunge.evaluation.passes.examples import corpus_threshold, examples
from expunge.evaluation.passes.generate import stop_tokens
from expunge.evaluation.passes.harness import run_tasks
from expunge.evaluation.passes.plan import Plan, plan
from expunge.evaluation.passes.progress import bars
from expunge.evaluation.passes.run import Measured, run_plan
from expunge.evaluation.passes.vllm import Vllm, check_readable, find_vllm, vllm_answers
from expunge.evaluation.request import ComparedWith, Execution, JudgeModels, ModelLike, Questions
from expunge.evaluation.results.aggregate import add_controls, measurements, summarise
from expunge.evaluation.results.cost import Cost, add_cost, run_cost
from expunge.evaluation.results.fingerprints import (
    code_section,
    data_section,
    measured_key,
    model_section,
    recipe_section,
    same,
)
from expunge.evaluation.results.resume import Parts
from expunge.evaluation.results.retain import (
    RetainNumbers,
    add_comparison,
    comparable,
    from_results,
    read_retain_results,
)
from expunge.evaluation.results.schema import Data, Model, Results, load_results
from expunge.evaluation.results.table import build_table
from expunge.evaluation.suites import find_suite
from expunge.evaluation.suites.definition import fingerprint_suite
from expunge.evaluation.suites.judged import with_judges
from expunge.evaluation.suites.sets import EvaluationData, load_sets
from expunge.evaluation.suites.suite import Suite
from expunge.evaluation.suites.tasks import HarnessSuite
from expunge.metrics import Example
from expunge.models import causal_model, check_head, context_length, kept_style, load_model, moved
from expunge.models.precision import choose_precision, computing_in
from expunge.runs import companion_path, parts_path

Examples = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class Setting:
    """What is the same for every model of one evaluation; `definition` is the suite's fingerprint, judges aside."""

    suite: Suite
    definition: str
    data: EvaluationData
    judges: tuple[Judge, ...]
    execution: Execution
    style: PromptStyle
    vllm: Vllm | None = None
    original: Results | None = None


def evaluate(
    model: ModelLike,
    questions: Questions,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin | None = None,
    *,
    compared_with: ComparedWith = ComparedWith(),
    judges: JudgeModels = JudgeModels(),
    execution: Execution = Execution(),
    out: str | Path | None = None,
) -> Results:
    """Measure what a model still knows of the forget set, and what it kept of the rest.

    Under `accelerate launch` or `torchrun` every process must call this: the rows are split over them, each returns
    the whole, and the first writes the files.

    Args:
        model: a folder, run folder, adapter folder or Hub name, or a loaded model (then `tokenizer` is needed).
        questions: the suite, and where its rows are.
        tokenizer: of a loaded model, or its processor; the retain and target models use it too where they are given
            loaded.
        compared_with: the retain model or its results, and the model before unlearning.
        judges: models that judge outputs.
        execution: batch size, device, vLLM, progress bars.
        out: where to write results.json and the rest; results there are used again if every fingerprint matches.

    Returns:
        The results; those of the retain and target models are in `companions`.

    Raises:
        InputError: a name, file, set or model that cannot be used.
    """
    if out is not None and Path(out).suffix != ".json":
        raise InputError(f"{out}: the results file must end in .json, e.g. results.json.")
    if compared_with.retain_model is not None and compared_with.retain_results is not None:
        raise InputError("Give --retain-model or --retain-results, not both.")
    setting = _setting(questions, judges, execution, questions.style_for(model))
    _check_styles(setting.style, questions, model, compared_with)
    companions: dict[str, Results] = {}
    retain: RetainNumbers | None = None
    given = compared_with.retain_results
    if compared_with.retain_model is not None:
        place = _beside(out, "retain")
        companions["retain"] = _evaluate_one(compared_with.retain_model, tokenizer, setting, "retain model", place)
        retain = from_results(companions["retain"])
    elif isinstance(given, Results):
        companions["retain"], retain = given, from_results(given)
    elif given is not None:
        retain, stored = read_retain_results(given)
        companions.update({} if stored is None else {"retain": stored})
    if compared_with.target_model is not None:
        place = _beside(out, "target")
        target = _evaluate_one(compared_with.target_model, tokenizer, setting, "target model", place, retain)
        companions["target"] = target
    setting = replace(setting, original=companions.get("target"))
    results = _evaluate_one(model, tokenizer, setting, "model", out, retain)
    results.companions.update(companions)
    if out is not None:
        if processes.rank() == 0:
            results.save(out)
        processes.wait()
    return results


def _setting(questions: Questions, models: JudgeModels, execution: Execution, style: PromptStyle) -> Setting:
    """Check what was asked for, and read the rows."""
    suite = find_suite(questions.suite)
    definition = fingerprint_suite(suite)
    processes.start()
    if execution.vllm is not None and processes.together():
        raise InputError("vLLM answers in one process: leave --vllm out, or do not launch several.")
    if execution.vllm is not None and isinstance(suite, HarnessSuite):
        raise InputError(f"Suite {suite.name!r} runs lm-evaluation-harness on the loaded model: leave --vllm out.")
    suite = with_judges(suite, models)
    judges = open_judges(models, execution.device)
    if isinstance(suite, HarnessSuite):
        folder = "lm-evaluation-harness" if questions.data is None else str(questions.data)
        data = EvaluationData(folder, None, {}, {})
    else:
        data = load_sets(questions, suite)
    vllm = None if execution.vllm is None else find_vllm(execution.vllm)
    return Setting(suite, definition, data, judges, execution, style, vllm)


def _check_styles(style: PromptStyle, questions: Questions, model: ModelLike, others: ComparedWith) -> None:
    """Say so where prompts are written in a style that was not asked for, or that a model was not trained with."""
    if style != PromptStyle().updated(questions.template, questions.system, questions.date):
        warnings.warn(f"Prompts are written as {model} was trained ({style}).", stacklevel=3)
    for other in (others.retain_model, others.target_model):
        kept = kept_style(other) if isinstance(other, str | Path) else None
        if kept not in (None, style):
            warnings.warn(
                f"{other} was trained with other prompts ({kept}) than it is asked with ({style}).", stacklevel=3
            )


def _evaluate_one(
    model: ModelLike,
    tokenizer: PreTrainedTokenizerBase | ProcessorMixin | None,
    setting: Setting,
    title: str,
    out: str | Path | None,
    retain: RetainNumbers | None = None,
) -> Results:
    """Evaluate one model, or take the table of an earlier evaluation of the very same."""
    path = str(model) if isinstance(model, str | Path) else str(model.name_or_path)
    if setting.vllm is not None:
        check_readable(model)
    loaded, words = _loaded(model, tokenizer, setting.execution.device)
    check_head(loaded)
    identity = model_section(path, loaded)
    cost = run_cost(model, loaded) if isinstance(model, str | Path) else None
    precision = _precision(setting.execution.precision, loaded.device)
    recipe = recipe_section(
        *(setting.suite, setting.definition, words, setting.judges, setting.vllm, setting.original, setting.style),
        precision,
    )
    if isinstance(setting.suite, HarnessSuite):  # the questions are known once the harness has asked them
        folder = None if setting.data.spec == "lm-evaluation-harness" else setting.data.spec
        with computing_in(precision, loaded.device):
            sets, judged = run_tasks(loaded, words, setting.suite, folder)
        data = data_section(replace(setting.data, sets=sets), setting.suite)
        table = build_table(setting.suite, sets, judged)
    else:
        length = context_length(loaded.config)
        sets = {name: fitting(words, rows, length) for name, rows in setting.data.sets.items()}
        data = data_section(setting.data, setting.suite)
        earlier = _earlier(out, identity, data, recipe)
        if earlier is None:
            store = None if out is None else Parts(parts_path(out), measured_key(identity, data, recipe))
            work = plan(setting.suite, sets, words, length, setting.style)
            stop = stop_tokens(loaded, words, setting.style)
            measured = _measured(loaded, words, setting, work, title, store, precision)
            del loaded  # a model that was read from a path leaves room for vLLM and the judges
            if setting.vllm is not None or setting.judges:
                gc.collect()
            if setting.vllm is not None:
                wanted = range(len(work.prompts))
                measured.answers.update(vllm_answers(setting.vllm, check_readable(model), work.prompts, wanted, stop))
            unjudged = examples(setting.suite, sets, work, measured, words, setting.style)
            table = build_table(setting.suite, sets, _judged(setting, sets, unjudged))
        else:
            table = earlier.examples
    threshold = corpus_threshold(setting.suite, sets, words)
    return _results(setting, identity, data, recipe, table, retain, cost, threshold)


def _measured(
    loaded: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    setting: Setting,
    work: Plan,
    title: str,
    store: Parts | None,
    precision: str,
) -> Measured:
    """The passes over the model."""
    execution = setting.execution
    with bars(title, execution.progress and processes.rank() == 0) as report:
        generating = setting.vllm is None
        return run_plan(
            *(loaded, tokenizer, work, execution.batch_tokens, report, store, generating, setting.style), precision
        )


def _judged(setting: Setting, sets: Mapping[str, Sequence[Row]], measured: Examples) -> Examples:
    """What every judge says of the outputs."""
    outputs = Outputs(setting.suite, sets, measured, None if setting.original is None else setting.original.table)
    for judge in setting.judges:
        judge.judge(outputs)
    return outputs.examples


def _results(
    setting: Setting,
    model: Model,
    data: Data,
    recipe: Mapping[str, Any],
    table: Any,
    retain: RetainNumbers | None,
    cost: Cost | None,
    leak_threshold: float | None,
) -> Results:
    """From the table of examples to results; no model is needed any more."""
    suite, names = setting.suite, list(data.sets)
    retain, why = comparable(retain, recipe)
    metrics = measurements(suite, table, names, None if retain is None else retain.table)
    summary = summarise(suite, table, names, data.left_out)
    add_controls(summary, suite, table, names)
    if leak_threshold is not None:
        summary.values["leak_threshold"] = leak_threshold
    add_cost(summary, cost)
    results = Results(suite.name, model, data, recipe, code_section(), metrics, summary, table)
    add_comparison(results, suite, retain, why)
    return results


def _precision(asked: str, device: torch.device) -> str:
    """What to compute in; what was chosen is said."""
    precision = choose_precision(asked, device)
    if asked == "auto":
        warnings.warn(f"Computing in {precision}, the fastest precision of this {device.type}.", stacklevel=3)
    return precision


def _loaded(
    model: ModelLike, tokenizer: PreTrainedTokenizerBase | ProcessorMixin | None, device: str | torch.device | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if isinstance(model, str | Path):
        return load_model(model, device=device)
    if isinstance(tokenizer, ProcessorMixin):
        tokenizer = tokenizer_of(tokenizer)
    if tokenizer is None:
        raise InputError("A loaded model needs its tokenizer: evaluate(model, questions, tokenizer).")
    model = causal_model(model)  # an adapter stays in the model it wraps
    return (model if device is None else moved(model, device)), tokenizer


def _earlier(out: str | Path | None, model: Model, data: Data, recipe: Mapping[str, Any]) -> Results | None:
    """Results of an earlier evaluation at `out`, if they are of the same model, rows, settings and code."""
    if out is None or not Path(out).is_file():
        return None
    try:
        earlier = load_results(out)
    except InputError as error:  # edited, cut short or of another version: replaced
        warnings.warn(f"{error} That is done now.", stacklevel=2)
        return None
    return earlier if earlier.table is not None and same(earlier, model, data, recipe) else None


def _beside(out: str | Path | None, role: str) -> Path | None:
    return None if out is None else companion_path(out, role)
