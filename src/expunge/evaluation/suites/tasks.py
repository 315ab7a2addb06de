"""Suites of lm-evaluation-harness tasks: the harness asks and scores, one line a question in the same table."""

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics import Kind
from expunge.metrics.accuracy import ACCURACY


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


def harness_suite(name: str, source: str, summary: str, tasks: Sequence[Task]) -> HarnessSuite:
    """A suite of tasks, each reported as `<task>/accuracy`."""
    return HarnessSuite(
        name=name,
        source=source,
        summary=summary,
        sets=tuple(SetSpec(task.name, task.name, task.kind) for task in tasks),
        metrics=(ACCURACY,),
        max_tokens=0,
        limit_counts_prompt=False,
        tasks=tuple(tasks),
    )
