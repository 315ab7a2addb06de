"""Progress bars of an evaluation, on the error stream, so that the output can be piped."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from expunge.evaluation.passes.run import Progress as Report


@contextmanager
def bars(title: str, shown: bool) -> Iterator[Report]:
    """Give a function (stage, done, of) that moves one bar per stage."""
    if not shown:
        yield lambda stage, done, of: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, of: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(f"{title}: {stage}", total=of)
            progress.update(tasks[stage], completed=done, total=of)

        yield report
