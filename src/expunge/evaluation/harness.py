"""Suites of lm-evaluation-harness tasks on the model in memory: one line per question in the same table of examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Row, Turn
from expunge.errors import InputError
from expunge.evaluation.suite import SetSpec, Suite
from expunge.metrics import Example, Kind
from expunge.metrics.accuracy import ACCURACY

MISSING = "lm-evaluation-harness is not installed: pip install lm-eval"


@dataclass(frozen=True)
class Task:
    """A task or group of tasks of the harness.

    Attributes:
        name: of the task or group there.
        kind: "forget" for what must go, "retain" for what must stay.
        score: the harness's name for the value of one question.
        filter: which of the harness's filtered answers, where a task has several.
        shots: examples in the prompt; None: as the task says.
    """

    name: str
    kind: Kind
    score: str = "acc"
    filter: str = "none"
    shots: int | None = None


@dataclass(frozen=True)
class HarnessSuite(Suite):
    """A suite whose sets are tasks of the harness."""

    tasks: tuple[Task, ...] = ()


def harness_suite(name: str, source: str, tasks: Sequence[Task]) -> HarnessSuite:
    """A suite of tasks, each reported as `<task>/accuracy`."""
    return HarnessSuite(
        name=name,
        source=source,
        sets=tuple(SetSpec(task.name, task.name, task.kind) for task in tasks),
        metrics=(ACCURACY,),
        max_tokens=0,
        limit_counts_prompt=False,
        utility=(),
        efficacy=(),
        tasks=tuple(tasks),
    )


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    suite: HarnessSuite,
    folder: str | Path | None = None,
) -> tuple[dict[str, list[Row]], dict[str, list[Example]]]:
    """Run the suite's tasks.

    Args:
        model: in memory; not copied.
        tokenizer: its own.
        suite: its tasks.
        folder: with task files of one's own (YAML), in place of the harness's.

    Returns:
        Per set, its questions as rows and as measured examples.

    Raises:
        InputError: the harness is not installed, or a task or its data cannot be had.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(MISSING) from error
    manager = TaskManager(include_path=None if folder is None else str(folder), include_defaults=folder is None)
    wrapped = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device=str(model.device))
    rows: dict[str, list[Row]] = {}
    examples: dict[str, list[Example]] = {}
    for task in suite.tasks:
        try:
            found = simple_evaluate(
                wrapped,
                tasks=[task.name],
                num_fewshot=task.shots,
                task_manager=manager,
                log_samples=True,
                bootstrap_iters=0,
            )
        except (KeyError, ValueError, OSError, ConnectionError) as error:
            raise InputError(f"Task {task.name!r} of lm-evaluation-harness cannot be run: {error}") from error
        by_task = found.get("samples") or {}
        samples = [s for name in sorted(by_task) for s in by_task[name] if _wanted(s, task)]
        if not samples:
            raise InputError(f"Task {task.name!r} gave no value {task.score!r} with filter {task.filter!r}.")
        rows[task.name] = [_row(sample) for sample in samples]
        examples[task.name] = [Example(task.kind, correct=float(sample[task.score])) for sample in samples]
    return rows, examples


def _wanted(sample: Mapping[str, Any], task: Task) -> bool:
    return task.score in sample and sample.get("filter", "none") == task.filter


def _row(sample: Mapping[str, Any]) -> Row:
    """The question as the model saw it, and the right answer."""
    return Row((Turn("user", str(sample["arguments"][0][0])),), str(sample["target"]))
