"""The public entry: evaluate a model, and its retain and target models where they are given."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Row, windows
from expunge.errors import InputError, unknown
from expunge.evaluation import processes
from expunge.evaluation.aggregate import add_controls, add_cost, measurements, summarise
from expunge.evaluation.cost import run_cost
from expunge.evaluation.engine import Vllm, check_readable, find_vllm, vllm_answers
from expunge.evaluation.extended import extended
from expunge.evaluation.fingerprints import code_section, data_section, recipe_section, same
from expunge.evaluation.generator import stop_tokens
from expunge.evaluation.harness import HarnessSuite, run_tasks
from expunge.evaluation.judging import Judges, open_judges
from expunge.evaluation.measure import corpus_threshold, examples, run_plan
from expunge.evaluation.parts import Parts
from expunge.evaluation.planner import plan
from expunge.evaluation.progress import bars
from expunge.evaluation.reference import Reference, add_comparison, from_results, read_reference
from expunge.evaluation.results import Results, companion_path, load_results, parts_path
from expunge.evaluation.sets import EvaluationData, load_sets
from expunge.evaluation.suite import Suite
from expunge.evaluation.suites import SUITES
from expunge.evaluation.table import build_table
from expunge.models import causal_model, check_head, fingerprint, fingerprint_json, load_model

if TYPE_CHECKING:
    from peft import PeftModel


@dataclass(frozen=True)
class Setting:
    """What is the same for every model of one evaluation."""

    suite: Suite
    data: EvaluationData
    judges: Judges
    batch_tokens: int | None
    device: str | torch.device | None
    progress: bool
    task_folder: str | None
    vllm: Vllm | None = None
    original: Results | None = None


def evaluate(
    model: "str | Path | PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    suite: str | Suite = "tofu",
    data: str | Path | Mapping[str, Sequence[Row] | str | Path] | None = None,
    forget_split: str | None = None,
    holdout: str | Path | None = None,
    retain_model: "str | Path | PreTrainedModel | PeftModel | None" = None,
    retain_results: str | Path | Results | None = None,
    target_model: "str | Path | PreTrainedModel | PeftModel | None" = None,
    embedding_model: str | None = None,
    nli_model: str | None = None,
    classifiers: Mapping[str, tuple[str, str]] | None = None,
    reward_model: str | None = None,
    fluency_model: str | None = None,
    batch_tokens: int | None = None,
    device: str | torch.device | None = None,
    vllm: str | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> Results:
    """Measure what a model still knows of the forget set, and what it kept of the rest.

    Under `accelerate launch` or `torchrun` every process must call this: the rows are split over them, each returns
    the whole, and the first writes the files.

    Args:
        model: a folder, run folder, adapter folder or Hub name, or a loaded model (then `tokenizer` is needed).
        tokenizer: of a loaded model; the retain and target models use it too where they are given loaded.
        suite: a name of `expunge.evaluation.SUITES`, or a suite of your own.
        data: a folder or Hub id in the suite's layout, or rows (or a SPEC) per set name; for suites of
            lm-evaluation-harness, which bring their own, a folder with task files in their place.
        forget_split: e.g. "forget10"; needed where the data has several.
        holdout: SPEC of rows never trained on, for membership inference; default: the configuration of `data` that goes
            with the forget split (`holdout10` with `forget10`), if there is one.
        retain_model: trained without the forget set; `forget_quality` compares with it.
        retain_results: its results in place of the model: ours, or the `*_EVAL.json` log that OpenUnlearning publishes.
        target_model: the model before unlearning, measured for comparison.
        embedding_model: Hub name or folder of a sentence-embedding model, for `cosine_similarity`.
        nli_model: Hub name or folder of an NLI classifier, for `entailment`.
        classifiers: name -> (Hub name or folder of a sequence classifier, label), for `<name>_rate` and
            `<name>_probability`: how many outputs carry the label.
        reward_model: Hub name or folder of a sequence classifier with one output, for `reward` (suite llmu).
        fluency_model: folder, adapter folder or Hub name of a causal language model, for `perplexity`. Like classifiers
            and the reward model it is loaded when the evaluated model, where that was given as a path, has been let go.
        batch_tokens: the most tokens of a scoring batch, padding included.
        device: default: a GPU if there is one.
        vllm: the Python of an environment with vLLM, which then answers the prompts; models must be given as paths.
        out: where to write results.json and the rest; results there are used again if every fingerprint matches.
        progress: show progress bars on the error stream.

    Returns:
        The results; those of the retain and target models are in `companions`.

    Raises:
        InputError: a name, file, set or model that cannot be used.
    """
    if isinstance(suite, str):
        if suite not in SUITES:
            raise unknown("suite", suite, SUITES)
        suite = SUITES[suite]
    if out is not None and Path(out).suffix != ".json":
        raise InputError(f"{out}: the results file must end in .json, e.g. results.json.")
    if retain_model is not None and retain_results is not None:
        raise InputError("Give --retain-model or --retain-results, not both.")
    processes.start()
    if vllm is not None and processes.together():
        raise InputError("vLLM answers in one process: leave --vllm out, or do not launch several.")
    if vllm is not None and isinstance(suite, HarnessSuite):
        raise InputError(f"Suite {suite.name!r} runs lm-evaluation-harness on the loaded model: leave --vllm out.")
    suite = extended(suite, classifiers or {}, fluency_model is not None)
    judges = open_judges(embedding_model, nli_model, classifiers or {}, reward_model, fluency_model, device)
    task_folder = None
    if isinstance(suite, HarnessSuite):
        found = EvaluationData("lm-evaluation-harness" if data is None else str(data), None, {}, {})
        task_folder = None if data is None else str(data)
    elif data is None:
        raise InputError(f"Suite {suite.name!r} needs --data: a folder or Hub id with its sets.")
    else:
        found = load_sets(data, suite, forget_split, holdout)
    engine = None if vllm is None else find_vllm(vllm)
    setting = Setting(suite, found, judges, batch_tokens, device, progress, task_folder, engine)
    companions: dict[str, Results] = {}
    retain: Reference | None = None
    if retain_model is not None:
        companions["retain"] = _evaluate_one(retain_model, tokenizer, setting, "retain model", _beside(out, "retain"))
        retain = from_results(companions["retain"])
    elif isinstance(retain_results, Results):
        companions["retain"], retain = retain_results, from_results(retain_results)
    elif retain_results is not None:
        retain, stored = read_reference(retain_results)
        companions.update({} if stored is None else {"retain": stored})
    if target_model is not None:
        companions["target"] = _evaluate_one(
            target_model, tokenizer, setting, "target model", _beside(out, "target"), retain
        )
    setting = replace(setting, original=companions.get("target"))
    results = _evaluate_one(model, tokenizer, setting, "model", out, retain)
    results.companions.update(companions)
    if out is not None:
        if processes.rank() == 0:
            results.save(out)
        processes.wait()
    return results


def _evaluate_one(
    model: "str | Path | PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase | None,
    setting: Setting,
    title: str,
    out: str | Path | None,
    retain: Reference | None = None,
) -> Results:
    """Evaluate one model, or take the table of an earlier evaluation of the very same."""
    path = str(model) if isinstance(model, str | Path) else model.name_or_path
    if setting.vllm is not None:
        check_readable(model)
    loaded, tokenizer = _loaded(model, tokenizer, setting.device)
    check_head(loaded)
    weights = fingerprint(loaded)
    cost = run_cost(model, loaded) if isinstance(model, str | Path) else None
    recipe = recipe_section(setting.suite, tokenizer, setting.judges, setting.vllm, setting.original)
    if isinstance(setting.suite, HarnessSuite):  # the questions are known once the harness has asked them
        sets, measured = run_tasks(loaded, tokenizer, setting.suite, setting.task_folder)
        setting = replace(setting, data=replace(setting.data, sets=sets))
        data, table = data_section(setting.data), build_table(setting.suite, sets, measured)
    else:
        sets = _windows(loaded, tokenizer, setting.data.sets)
        data = data_section(setting.data)
        table = _earlier(out, weights, data, recipe)
        if table is None:
            key = fingerprint_json([weights, data["sets"], recipe["fingerprint"], code_section()])
            parts = None if out is None else Parts(parts_path(out), key)
            work = plan(setting.suite, sets, tokenizer, _context(loaded))
            with bars(title, setting.progress and processes.rank() == 0) as report:
                generating = setting.vllm is None
                measured = run_plan(loaded, tokenizer, work, setting.batch_tokens, report, parts, generating)
            stop = stop_tokens(loaded, tokenizer)
            del loaded  # a model that was read from a path leaves room for vLLM and the judges
            gc.collect()
            if setting.vllm is not None:
                wanted = range(len(work.prompts))
                found = vllm_answers(setting.vllm, check_readable(model), work.prompts, wanted, stop)
                measured.answers.update(found)
            original = None if setting.original is None else setting.original.table
            judged = examples(setting.suite, sets, work, measured, tokenizer, setting.judges, original)
            table = build_table(setting.suite, sets, judged)
    names = list(setting.data.sets)
    metrics = measurements(setting.suite, table, names, None if retain is None else retain.table)
    summary = summarise(setting.suite, table, names, setting.data.left_out)
    add_controls(summary, setting.suite, table, names)
    if (threshold := corpus_threshold(setting.suite, sets, tokenizer)) is not None:
        summary.values["leak_threshold"] = threshold
    add_comparison(summary, setting.suite, table, recipe["tokenizer"], metrics, retain)
    add_cost(summary, cost)
    return Results(
        suite=setting.suite.name,
        model={"path": path, "fingerprint": weights},
        data=data,
        recipe=recipe,
        code=code_section(),
        metrics=metrics,
        summary=summary,
        table=table,
    )


def _windows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sets: Mapping[str, Sequence[Row]]
) -> Mapping[str, Sequence[Row]]:
    """The rows, plain text that is longer than the model's context cut into several."""
    context = _context(model)
    if context is None:
        return sets
    return {name: [part for row in rows for part in windows(tokenizer, row, context)] for name, rows in sets.items()}


def _context(model: PreTrainedModel) -> int | None:
    return model.config.get_text_config().to_dict().get("max_position_embeddings")


def _loaded(
    model: "str | Path | PreTrainedModel | PeftModel",
    tokenizer: PreTrainedTokenizerBase | None,
    device: str | torch.device | None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if isinstance(model, str | Path):
        return load_model(model, device=device)
    if tokenizer is None:
        raise InputError("A loaded model needs its tokenizer: evaluate(model, tokenizer, ...).")
    model = causal_model(model)  # an adapter stays in the model it wraps
    return (model if device is None else model.to(device)), tokenizer


def _earlier(out: str | Path | None, weights: str, data: Mapping, recipe: Mapping) -> pa.Table | None:
    """The table of an earlier evaluation at `out`, if it is of the same weights, rows, settings and code."""
    if out is None or not Path(out).is_file():
        return None
    try:
        earlier = load_results(out)
    except InputError:  # cut short, or of another version: measured again and replaced
        return None
    return earlier.table if same(earlier.to_json(), weights, data, recipe) else None


def _beside(out: str | Path | None, role: str) -> Path | None:
    return None if out is None else companion_path(out, role)
