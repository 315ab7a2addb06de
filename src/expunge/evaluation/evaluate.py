"""The public entry: evaluate a model, and its retain and target models where they are given."""

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
from expunge.evaluation.aggregate import (
    Summary,
    add_controls,
    add_forget_quality,
    add_privleak,
    measurements,
    membership_scores,
    summarise,
)
from expunge.evaluation.encoders import load_embedder, load_entailer
from expunge.evaluation.fingerprints import code_section, data_section, recipe_section, same
from expunge.evaluation.harness import HarnessSuite, run_tasks
from expunge.evaluation.measure import Judges, examples, run_plan
from expunge.evaluation.parts import Parts
from expunge.evaluation.planner import plan
from expunge.evaluation.progress import bars
from expunge.evaluation.reference import Reference, from_results, read_reference
from expunge.evaluation.results import Results, companion_path, load_results, parts_path
from expunge.evaluation.sets import EvaluationData, load_sets
from expunge.evaluation.suite import Suite
from expunge.evaluation.suites import SUITES
from expunge.evaluation.table import build_table, column_of
from expunge.metrics.membership import MIA_MIN_K, resampled_aucs
from expunge.models import causal_model, check_head, fingerprint, fingerprint_json, load_model

if TYPE_CHECKING:
    from peft import PeftModel

NO_RETAIN_MODEL = (
    "it compares with a model that was trained without the forget set: give one with --retain-model, or its results "
    "with --retain-results"
)


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
    batch_tokens: int | None = None,
    device: str | torch.device | None = None,
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
        batch_tokens: the most tokens of a scoring batch, padding included.
        device: default: a GPU if there is one.
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
    judges = Judges(
        load_embedder(embedding_model, device) if embedding_model else None,
        load_entailer(nli_model, device) if nli_model else None,
    )
    task_folder = None
    if isinstance(suite, HarnessSuite):
        found = EvaluationData("lm-evaluation-harness" if data is None else str(data), None, {}, {})
        task_folder = None if data is None else str(data)
    elif data is None:
        raise InputError(f"Suite {suite.name!r} needs --data: a folder or Hub id with its sets.")
    else:
        found = load_sets(data, suite, forget_split, holdout)
    setting = Setting(suite, found, judges, batch_tokens, device, progress, task_folder)
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
    model, tokenizer = _loaded(model, tokenizer, setting.device)
    check_head(model)
    weights = fingerprint(model)
    recipe = recipe_section(setting.suite, tokenizer, setting.judges)
    if isinstance(setting.suite, HarnessSuite):  # the questions are known once the harness has asked them
        rows, measured = run_tasks(model, tokenizer, setting.suite, setting.task_folder)
        setting = replace(setting, data=replace(setting.data, sets=rows))
        data, table = data_section(setting.data), build_table(setting.suite, rows, measured)
    else:
        data = data_section(setting.data)
        table = _earlier(out, weights, data, recipe)
        if table is None:
            key = fingerprint_json([weights, data["sets"], recipe["fingerprint"], code_section()])
            parts = None if out is None else Parts(parts_path(out), key)
            table = _measure(model, tokenizer, setting, title, parts)
    sets = list(setting.data.sets)
    metrics = measurements(setting.suite, table, sets, None if retain is None else retain.table)
    summary = summarise(setting.suite, table, sets, setting.data.left_out)
    add_controls(summary, setting.suite, table, sets)
    _compare(summary, setting, table, recipe, metrics, retain)
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


def _measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    setting: Setting,
    title: str,
    parts: Parts | None,
) -> pa.Table:
    suite = setting.suite
    context = model.config.get_text_config().to_dict().get("max_position_embeddings")
    sets = {
        name: rows if context is None else [part for row in rows for part in windows(tokenizer, row, context)]
        for name, rows in setting.data.sets.items()
    }
    work = plan(suite, sets, tokenizer, context)
    with bars(title, setting.progress and processes.rank() == 0) as report:
        measured = run_plan(model, tokenizer, work, setting.batch_tokens, report, parts)
    return build_table(suite, sets, examples(suite, sets, work, measured, tokenizer, setting.judges))


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


def _compare(
    summary: Summary, setting: Setting, table: pa.Table, recipe: Mapping, metrics: Mapping, retain: Reference | None
) -> None:
    """Add what is told by comparison with the retain model: forget quality and privleak."""
    suite, why = setting.suite, NO_RETAIN_MODEL
    if retain is not None and retain.tokenizer not in (None, recipe["tokenizer"]):
        why = "the retain model has another tokenizer or chat template, so the two cannot be compared"
        retain = None
    if retain is not None:
        _check_same_rows(table, retain)
    forget = next((spec for spec in suite.sets if spec.kind == "forget"), None)
    if forget is None:
        return
    if "truth_ratio" in table.column_names:
        reference = None if retain is None else retain.truth_ratios
        add_forget_quality(summary, column_of(table, forget.name, "truth_ratio"), reference, why)
    if MIA_MIN_K not in suite.metrics:
        return
    measured = metrics.get(f"{forget.name}/mia_min_k")
    ours = None if measured is None else measured.value
    theirs = None if retain is None else retain.min_k_auc
    resampled = None
    if ours is not None and theirs is not None:
        scores = membership_scores(MIA_MIN_K, forget, suite, table, None)
        their_scores = None if retain.table is None else membership_scores(MIA_MIN_K, forget, suite, retain.table, None)
        resampled = (
            resampled_aucs(*scores, MIA_MIN_K.member),
            theirs if their_scores is None else resampled_aucs(*their_scores, MIA_MIN_K.member),
        )
    add_privleak(summary, ours, theirs, resampled, why)


def _check_same_rows(table: pa.Table, retain: Reference) -> None:
    """Both models must have been asked the same; of a published log the number of rows alone is known."""
    if retain.table is None:
        ours, theirs = len(column_of(table, "forget", "index")), retain.truth_ratios
        same_rows, n = theirs is None or len(theirs) == ours, ours if theirs is None else len(theirs)
    else:
        asked, asked_there = (
            t.filter(pa.compute.equal(t["set"], "forget")).select(["question", "answer"]).to_pylist()
            for t in (table, retain.table)
        )
        same_rows, ours, n = asked == asked_there, len(asked), len(asked_there)
    if not same_rows:
        raise InputError(
            f"The retain model's results ({retain.name}) are of another forget set: {n} rows there, {ours} here, or "
            "other texts. Evaluate both with the same --data and --forget-split."
        )


def _beside(out: str | Path | None, role: str) -> Path | None:
    return None if out is None else companion_path(out, role)
