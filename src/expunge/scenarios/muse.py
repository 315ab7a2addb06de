"""MUSE, News and Books (arXiv 2407.06460): is text gone word for word, as knowledge and as a trace, and what is kept?

Small: invented news in the same layout, which a model of a million parameters learns by heart, and a retain model all
but the forget set's folds of. Fold 1 is the forget set. Two curves on top of the table: the forget set grows by a fold
at a time, each from the target; or folds are forgotten one after the other, each from the model before.

    OUT/runs/METHOD              the forget set
    OUT/growing/K/METHOD         folds 1 to K
    OUT/in_turn/K/METHOD         fold K, from the model that had forgotten fold K - 1
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.files import whole_folder
from expunge.runs import MODEL, RESULTS
from expunge.scenarios.base import Say, Scenario, Sources, TableRow, learn_tiny
from expunge.scenarios.compare import Request, compare, measured, table_rows, unlearned
from expunge.worlds.new import TINY_UNLEARNING

if TYPE_CHECKING:
    from expunge.evaluation import Results, Suite

TASK_VECTOR = "Task vector"
METHODS = ("GA", "GA+GD", "GA+KL", "NPO", "NPO+GD", "NPO+KL", TASK_VECTOR)
"""GD and KL are the paper's GDR and KLR."""
FOLDED = ("GA", "NPO+GD")
"""Of the small form's curves; the full form draws all."""
FOLDS = 4
OPTIONS = {TASK_VECTOR: {"name": "GA", "forget_weight": -1.0}}
LEARNING = {"target": 30, "retain": 60}
"""Passes, for about as many steps: the retain model learns half of the rows."""
CONTINUED = 32  # tokens of a passage's continuation in the small form: no article has fewer left
SMALL_TRAINING: dict[str, Any] = {**TINY_UNLEARNING, "learning_rate": 3e-4, "stop_at_chance": False, "use_cpu": True}
TRAINING: dict[str, Any] = {
    "learning_rate": 1e-5,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 8,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_length": 2048,
    "activation_checkpointing": True,
    "stop_at_chance": False,
    "save_strategy": "no",
}
EPOCHS = {"GA": 1, "GA+GD": 7, "GA+KL": 10, "NPO": 1, "NPO+GD": 10, "NPO+KL": 10, TASK_VECTOR: 10}
"""Of the released scripts for News: the first pass after which KnowMem is no higher than the retain model's, or 10."""
NEGATED = {TASK_VECTOR: {"negate": 5.0}}
RETAIN_MODEL = "retain model"
VERBATIM, KNOWN, KEPT = "forget_verbmem/rougeL_f1", "forget_knowmem/rougeL_f1", "retain_knowmem/rougeL_f1"
CURVES = {
    "growing/retain_knowmem": KEPT,
    "in_turn/retain_knowmem": KEPT,
    "in_turn/forget_verbmem": VERBATIM,
}
"""What is drawn over folds, and the suite's number that it is."""
LABELS = {
    VERBATIM: "VerbMem, forget set",
    KNOWN: "KnowMem, forget set",
    KEPT: "KnowMem, retain set",
    "privleak": "PrivLeak, per cent",
    "growing/retain_knowmem": "KnowMem, retain set, as the forget set grows",
    "in_turn/retain_knowmem": "KnowMem, retain set, folds one after the other",
    "in_turn/forget_verbmem": "VerbMem, fold 1, folds one after the other",
}


def small(
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
    methods: Sequence[str] = METHODS,
    folded: Sequence[str] = FOLDED,
) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where data and models are written.
        seed: of world, model and training.
        quiet: no progress bars.
        say: is told about each step.
        methods: of the table.
        folded: those of them that forget more folds.
    """
    from expunge.worlds.layout import write_layout
    from expunge.worlds.news import news_world

    data, words, target, retain_model = (out / name for name in ("news", "tokenizer", "target", "retain"))
    if not data.is_dir():
        write_layout(data, news_world(seed))
    if not words.is_dir():
        write_tokenizer(data, words)
    for place, name in ((target, "target"), (retain_model, "retain")):
        if not place.is_dir():
            say(f"The {name} model is learning (about a minute)")
            options = {"per_device_train_batch_size": 8, "num_train_epochs": LEARNING[name]}
            learn_tiny(f"{data}:learned:{name}", place, seed, options, words)
    given = Sources(str(target), str(data), retain_model=str(retain_model))
    request = _request(given, small_suite(), SMALL_TRAINING, {TASK_VECTOR: {"negate": 1.0}})
    return _run(given, request, methods, folded, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The paper's setting on data in the published layout, of News or Books; folds where the data has them.

    Raises:
        InputError: no data is given, or it lacks a set.
    """
    import torch

    from expunge.errors import InputError

    if given.data is None:
        raise InputError(f"Scenario {MUSE_SCENARIO.name} needs {MUSE_SCENARIO.takes}.")
    training = {method: {"num_train_epochs": EPOCHS[method], **NEGATED.get(method, {})} for method in METHODS}
    request = _request(given, "muse", {**TRAINING, "bf16": torch.cuda.is_available()}, training)
    return _run(given, request, METHODS, METHODS, out, seed, quiet, say)


def write_tokenizer(data: Path, out: Path) -> None:
    """Make a tokenizer of all texts, the holdout's too: a real one has met the words of texts that its model has not.

    Without them a holdout text falls into more and rarer tokens than any other, and is told from them by that alone.
    """
    from expunge.data import load_rows
    from expunge.worlds.new import new_tiny

    rows = [row for name in ("learned:target", "raw:holdout") for row in load_rows(f"{data}:{name}")]
    with whole_folder(out) as part:
        new_tiny(rows)[1].save_pretrained(part)


def small_suite() -> "Suite":
    """The suite `muse` with shorter continuations."""
    from expunge.evaluation.suites import SUITES

    muse = SUITES["muse"]
    sets = [
        replace(spec, max_tokens=CONTINUED, reference_tokens=CONTINUED) if spec.reference_tokens else spec
        for spec in muse.sets
    ]
    return replace(muse, name="muse-small", sets=tuple(sets))


def _request(
    given: Sources, suite: "str | Suite", train: dict[str, Any], training: dict[str, dict[str, Any]]
) -> Request:
    from expunge.data import load_rows
    from expunge.evaluation import Questions

    retain = given.retain or f"{given.data}:raw:retain1"
    load_rows(retain)  # before anything is computed
    return Request(
        target=given.model,
        forget=f"{given.data}:raw:forget",
        retain=retain,
        questions=Questions(suite, given.data),
        metrics=(VERBATIM, KNOWN, KEPT, "privleak"),
        train=train,
        options=OPTIONS,
        training=training,
    )


def _run(
    given: Sources,
    request: Request,
    methods: Sequence[str],
    folded: Sequence[str],
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
) -> list[TableRow]:
    from expunge.evaluation import ComparedWith

    rows: list[TableRow] = []
    if given.retain_model is not None:
        retained = measured(request, given.retain_model, out / "results" / f"retain.{RESULTS}")
        rows += table_rows(retained, RETAIN_MODEL, request.metrics, seed)
        request = replace(request, compared_with=ComparedWith(retain_results=retained))
    rows += compare(request, methods, out / "runs", seed, quiet, say)
    growing, in_turn = folds(str(given.data), out)
    for method in folded if in_turn else ():
        for curve in _curves(request, method, growing, in_turn, out, seed, quiet):
            say(f"{method}: {curve.metric} {curve.value:.2f}")
            rows.append(curve)
    return rows


def folds(data: str, out: Path) -> tuple[list[str], list[str]]:
    """SPECs of what is forgotten after the first fold: growing forget sets, and the folds by themselves.

    The growing sets are the configuration `scal`; where the data has `sust` alone, its folds are put together.

    Args:
        data: in the published layout.
        out: where sets that are put together are written.

    Returns:
        Both for folds 2 to 4; empty where the data has no folds, as Books has none.
    """
    from expunge.data import configurations, load_records
    from expunge.files import write_jsonl

    known = configurations(data)
    if "sust" not in known:
        return [], []
    numbers = range(2, FOLDS + 1)
    in_turn = [f"{data}:sust:forget_{k}" for k in numbers]
    if "scal" in known:
        return [f"{data}:scal:forget_{k}" for k in numbers], in_turn
    growing, together = [], load_records(f"{data}:sust:forget_1")
    for k, fold in zip(numbers, in_turn, strict=True):
        together = together + load_records(fold)
        place = out / "folds" / f"forget_{k}.jsonl"
        place.parent.mkdir(exist_ok=True)
        write_jsonl(place, together)
        growing.append(str(place))
    return growing, in_turn


def _curves(
    request: Request, method: str, growing: Sequence[str], in_turn: Sequence[str], out: Path, seed: int, quiet: bool
) -> Iterator[TableRow]:
    """What is left after each fold. Both curves begin with the forget set's own run: it is fold 1."""
    first = unlearned(request, method, out / "runs" / method, seed, quiet)
    for name in ("growing", "in_turn"):
        yield from _points(first, method, name, 1, seed)
    for k, forget in enumerate(growing, 2):
        place = out / "growing" / str(k) / method
        yield from _points(
            unlearned(replace(request, forget=forget), method, place, seed, quiet), method, "growing", k, seed
        )
    target = out / "runs" / method
    for k, forget in enumerate(in_turn, 2):
        place = out / "in_turn" / str(k) / method
        following = replace(request, target=str(target / MODEL), forget=forget)
        yield from _points(unlearned(following, method, place, seed, quiet), method, "in_turn", k, seed)
        target = place


def _points(results: "Results", method: str, name: str, fold: int, seed: int) -> Iterator[TableRow]:
    for curve, metric in CURVES.items():
        if curve.startswith(name):
            (row,) = table_rows(results, method, [metric], seed)
            yield replace(row, metric=f"{curve}@{fold}")


FULL_DIFFERS = (
    "Passes are those that the released scripts settled on for News; the paper stops at the first after which KnowMem "
    "is no higher than the retain model's. The task vector's scale is 5, not searched.",
    "NPO is that of its own paper, from log-probabilities of whole passages, where MUSE's code feeds raw logits; KL is "
    "a mean over tokens.",
    "Who's Harry Potter (WHP), the paper's eighth method, is not there.",
    "One seed.",
)
MUSE_SCENARIO = Scenario(
    name="muse",
    summary="news or books: gone word for word, as knowledge and as a trace? Four folds at once, and one by one",
    paper="2407.06460",
    differs=(
        "Invented articles, eight a fold, and models of a million parameters that learned them by heart, not the BBC's "
        "or a book and models of seven billion.",
        "The target has learned the questions beside the articles, as a small model does not answer from articles.",
        "A continuation is 32 tokens long, 128 in the paper: the articles are short.",
        "All methods make 15 passes at the learning rate 3e-4, untuned; the task vector's scale is 1. The paper "
        "stops each at the first pass after which KnowMem is no higher than the retain model's.",
        "Over folds two methods are followed, in the paper all.",
        *FULL_DIFFERS[1:],
    ),
    labels=LABELS,
    drawn=tuple(CURVES),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model MODEL --data MUSE-NEWS-OR-BOOKS [--retain SPEC] [--retain-model MODEL]",
    step="fold",
)
