"""RWKU (arXiv 2406.10890): famous people, forgotten without their texts or any to keep, and probed at three levels.

Small: invented celebrities in the same layout, whom a model of a million parameters learns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError
from expunge.files import whole_folder, write_jsonl
from expunge.runs import RESULTS
from expunge.scenarios.base import Say, Scenario, Sources, TableRow, learn_tiny
from expunge.scenarios.compare import TARGET, Request, measured, table_rows, unlearned
from expunge.scenarios.wmdp import question_rows
from expunge.worlds.new import TINY_UNLEARNING

if TYPE_CHECKING:
    from expunge.data import Row
    from expunge.evaluation import Questions, Suite

Record = dict[str, Any]

REJECTION = "Rejection tuning"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "GA": ("positive", {}),
    "NPO": ("positive", {"beta": 0.2}),
    REJECTION: ("refusals", {"name": "GA", "forget_weight": -1.0}),
}
"""Which rows each is trained on, and its options; -GA learns them: here, to refuse."""
TARGETS = 10  # the first ten, as in the released batch setting 1-10
LEVELS = {1: "Please complete the blank in the following question.", 2: "Please briefly answer the following question."}
"""How probes are asked; those of level 3 as those of level 2."""
LONGEST_ANSWER = 30
LEARNED = ("forget_level1", "forget_level2", "neighbor_level1", "neighbor_level2")
"""Probes that the small form's target learns, as they are asked."""
LABELS = {
    "forget_level1/rougeL_recall": "Forget set, level 1 (blanks)",
    "forget_level2/rougeL_recall": "Forget set, level 2 (questions)",
    "forget_level3/rougeL_recall": "Forget set, level 3 (adversarial)",
    "neighbor_level1/rougeL_recall": "Neighbours, level 1",
    "neighbor_level2/rougeL_recall": "Neighbours, level 2",
    "mia_forget/loss": "Loss on members to forget",
    "mia_retain/loss": "Loss on members to keep",
    "utility_general/accuracy": "General ability (right choices)",
    "utility_truthfulness/accuracy": "Truthfulness (MC1)",
}
SMALL_TRAINING: dict[str, Any] = {
    **TINY_UNLEARNING,
    "learning_rate": 5e-4,
    "stop_at_chance": False,
    "use_cpu": True,
}
TRAINING: dict[str, Any] = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 20,
    "weight_decay": 0.0,
    "max_length": 512,
    "activation_checkpointing": True,
    "stop_at_chance": False,
    "save_strategy": "no",
}
OF_METHOD: dict[str, dict[str, Any]] = {
    "GA": {"learning_rate": 3e-8},
    "NPO": {"learning_rate": 1e-6, "gradient_accumulation_steps": 2},
    REJECTION: {"learning_rate": 1e-7, "num_train_epochs": 1},
}
"""As the released scripts have it for Llama-3-8B-Instruct and ten targets."""


def small(out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was."""
    from expunge.worlds.celebrities import celebrity_world
    from expunge.worlds.layout import write_layout

    data = out / "rwku"
    if not data.is_dir():
        world = celebrity_world(seed)
        probes = [probe for name in LEARNED for probe in world[f"{name}/test"]]
        world["learned/target"] += [{"question": asked(probe), "answer": probe["answer"]} for probe in probes]
        write_layout(data, world)
    if not (out / "target").is_dir():
        say("The target model is learning (about half a minute)")
        learn_tiny(f"{data}:learned:target", out / "target", seed, {"per_device_train_batch_size": 8})
    return _run(Sources(str(out / "target"), str(data)), SMALL_TRAINING, {}, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The batch setting of ten targets on data in the published layout.

    Raises:
        InputError: no data is given, or it lacks a set or a column.
    """
    import torch

    if given.data is None:
        raise InputError(f"Scenario {RWKU.name} needs {RWKU.takes}.")
    train = {**TRAINING, "bf16": torch.cuda.is_available()}
    return _run(given, train, OF_METHOD, out, seed, quiet, say)


def _run(
    given: Sources,
    train: dict[str, Any],
    training: Mapping[str, Mapping[str, Any]],
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
) -> list[TableRow]:
    rows_at, data = out / "rows", str(given.data)
    positive, refusals, sets = read(data)
    with whole_folder(rows_at) as part:
        write_jsonl(part / "positive.jsonl", positive)
        write_jsonl(part / "refusals.jsonl", refusals)
    request = Request(
        target=given.model,
        forget=f"{rows_at}:positive",
        retain=f"{rows_at}:refusals",
        questions=_questions(sets),
        metrics=tuple(LABELS),
        train=train,
        options={method: options for method, (_, options) in METHODS.items()},
        training=training,
    )
    before = measured(request, given.model, out / "runs" / "target" / RESULTS)
    rows = list(table_rows(before, TARGET, request.metrics, seed))
    for method, (trained, _) in METHODS.items():
        its = replace(request, forget=f"{rows_at}:{trained}")
        found = list(table_rows(unlearned(its, method, out / "runs" / method, seed, quiet), method, its.metrics, seed))
        say(f"{method}: " + ", ".join(f"{row.metric} {row.value:.2f}" for row in found))
        rows += found
    return rows


def read(data: str) -> "tuple[list[Record], list[Record], dict[str, Sequence[Row]]]":
    """What methods are trained on, and what is asked, of the first ten targets.

    Args:
        data: folder or Hub id in the published layout.

    Returns:
        Texts about the targets, questions about them with refusals, and the rows of each set of the suite.

    Raises:
        InputError: a set or a column is not there.
    """
    from expunge.data.rows import parse_row

    targets = [record["target"] for record in _records(f"{data}:forget_target", ("target",))][:TARGETS]

    def about(configuration: str, split: str, *columns: str) -> list[tuple[str, Record]]:
        spec = f"{data}:{configuration}:{split}"
        found = [(f"{spec}, row {i}", row) for i, row in enumerate(_records(spec, ("subject", *columns)))]
        if not (mine := [(where, row) for where, row in found if row["subject"] in targets]):
            raise InputError(f"{spec}: there is no row about any of {', '.join(targets)}.")
        return mine

    positive = [{"text": row["text"]} for _, row in about("train_positive_llama3", "train", "text")]
    refusals = [
        {"question": row["instruction"], "answer": row["output"]}
        for _, row in about("train_refusal_llama3", "train", "instruction", "output")
    ]
    sets: dict[str, Sequence[Row]] = {}
    for name in ("forget_level1", "forget_level2", "forget_level3", "neighbor_level1", "neighbor_level2"):
        probes = about(name, "test", "query", "answer", "level")
        sets[name] = [parse_row({"question": asked(row), "answer": row["answer"]}, where) for where, row in probes]
    for name in ("mia_forget", "mia_retain"):
        sets[name] = [parse_row({"text": row["text"]}, where) for where, row in about(name, "test", "text")]
    sets["utility_general"] = question_rows(about("utility_general", "test", "question", "choices", "answer"))
    truthful = about("utility_truthfulness", "test", "question", "mc1_targets")
    sets["utility_truthfulness"] = [_truthful(where, row) for where, row in truthful]
    return positive, refusals, sets


def asked(probe: Mapping[str, Any]) -> str:
    """A probe as the model is asked it."""
    instruction = LEVELS[1 if str(probe["level"]) == "1" else 2]
    return f"{instruction}\nQuestion: {probe['query']}"


def _records(spec: str, columns: Sequence[str]) -> list[Record]:
    from expunge.data import load_records

    records = load_records(spec)
    for i, record in enumerate(records):
        if missing := [name for name in columns if name not in record]:
            raise InputError(f"{spec}, row {i}: there is no column {missing[0]!r} in {', '.join(map(str, record))}.")
    return records


def _truthful(where: str, record: Record) -> "Row":
    """TruthfulQA's MC1: one choice is true, and must be likelier than every other."""
    from expunge.data.rows import parse_row

    choices, labels = record["mc1_targets"]["choices"], record["mc1_targets"]["labels"]
    true = [choice for choice, label in zip(choices, labels, strict=True) if label == 1]
    if len(true) != 1:
        raise InputError(f"{where}: 'mc1_targets' must have one choice with the label 1, not {len(true)}.")
    wrong = [choice for choice in choices if choice != true[0]]
    return parse_row({"question": record["question"], "answer": true[0], "perturbed_answer": wrong}, where)


def _questions(sets: "Mapping[str, Sequence[Row]]") -> "Questions":
    from expunge.evaluation import Questions

    return Questions(suite(), dict(sets))


def suite() -> "Suite":
    """ROUGE-L recall on probes, the loss on texts, and right choices."""
    from expunge.evaluation import SetSpec, Suite
    from expunge.metrics.base import Metric
    from expunge.metrics.membership import loss
    from expunge.metrics.rouge import ROUGE_L_RECALL
    from expunge.scenarios.hierarchy import CHOSEN

    losses = Metric(
        name="loss",
        per_example=loss,
        definition="nll/T of the text",
        source="2406.10890",
        needs=frozenset({"answer"}),
        better={"forget": "higher", "retain": "lower"},
    )
    metrics = {metric.name: metric for metric in (ROUGE_L_RECALL, losses, CHOSEN)}
    measured_on: dict[str, list[str]] = {}
    for label in LABELS:
        name, _, metric = label.partition("/")
        measured_on.setdefault(name, []).append(metric)
    return Suite(
        name="rwku",
        source="2406.10890",
        summary="probes at three levels, neighbours, membership and utility",
        sets=tuple(
            SetSpec(name, name, "forget" if "forget" in name else "retain", metrics=tuple(of), stop_at=("\n",))
            for name, of in measured_on.items()
        ),
        metrics=tuple(metrics.values()),
        max_tokens=LONGEST_ANSWER,
        limit_counts_prompt=False,
    )


FULL_DIFFERS = (
    "The first ten targets are forgotten together (the released batch setting 1-10), where the paper's main table is a "
    "mean over single targets.",
    "In-context unlearning and DPO on pairs of true and made-up biographies are not there. The texts that GA and NPO "
    "are trained on are those that Llama-3-8B-Instruct wrote.",
    "Answers are not begun with 'Answer:', as they are there. The words of the recall are those of the library "
    "rouge-score.",
    "Of utility, general ability (by the likelihood of each choice's text, not by letters and examples) and "
    "truthfulness are measured; reasoning, factuality and fluency are not. Of membership the loss alone.",
    "One seed.",
)
RWKU = Scenario(
    name="rwku",
    summary="famous people, without their texts or any to keep: do blanks, questions and attacks bring them back?",
    paper="2406.10890",
    differs=(
        "Two invented celebrities of ten, and a model of a million parameters that learned texts about them and the "
        "probes of levels 1 and 2, not a hundred people whom a model of eight billion met in its pretraining.",
        "The texts to forget are those that the target has learned, not its own answers. Four of nine kinds of "
        "adversarial probe.",
        "All methods make 15 passes at the learning rate 5e-4, untuned.",
        "DPO on pairs and in-context unlearning are not there.",
        *FULL_DIFFERS[2:],
    ),
    labels=LABELS,
    drawn=("forget_level2/rougeL_recall", "forget_level3/rougeL_recall", "neighbor_level2/rougeL_recall"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model MODEL --data RWKU",
)
