"""Tasks of lm-evaluation-harness on the model in memory, in place of expunge's passes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Row, Turn
from expunge.errors import InputError
from expunge.evaluation.suites.tasks import HarnessSuite, Task
from expunge.metrics import Example

MISSING = "lm-evaluation-harness is not installed: pip install lm-eval"


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
        folder: with custom task files (YAML), in place of the harness's.

    Returns:
        Per set, its questions as rows and as measured examples.

    Raises:
        InputError: the harness is not installed, or a task or its data cannot be loaded.
    """
    try:
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(MISSING) from error
    manager = TaskManager(include_path=None if folder is None else str(folder), include_defaults=folder is None)
    wrapped = cast(Any, HFLM)(pretrained=model, tokenizer=tokenizer, batch_size=8, device=str(model.device))
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
        by_task = (found or {}).get("samples") or {}
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
