"""A sweep from its file to its table: models measured, runs put into the study, workers, tables and picture."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from expunge.attacks.base import AttackRow, Role
from expunge.errors import InputError, Interrupted
from expunge.evaluation import load_results
from expunge.evaluation.results.schema import read_object
from expunge.files import whole_file
from expunge.runs import ATTACK, RESULTS, companion_path
from expunge.sweep.picture import write_picture
from expunge.sweep.plan import Run, Sweep, read_sweep
from expunge.sweep.study import Outcome, SweepStudy
from expunge.sweep.table import Line, leading, lines, write_tables
from expunge.sweep.work import MODELS, RUNS, attacked_numbers, drop_weights, measure_models, numbers_of, work

FILE = "sweep.yaml"  # a copy of the sweep's file


def sweep(
    file: str | Path,
    out: str | Path,
    workers: int = 1,
    storage: str | None = None,
    *,
    say: Callable[[str], None] = print,
) -> list[Line]:
    """Run a sweep, or what is left of it; what is done is not done again.

    Args:
        file: what to run (see `Sweep`).
        out: the folder to make, or that of the same sweep.
        workers: processes on this machine; more may be started elsewhere, with the same command.
        storage: of the study: a URL of a database, or a file for a journal; default: a database in the folder.
        say: is told about each run.

    Returns:
        The lines of the table. What is not done is counted there, with the reason.

    Raises:
        InputError: the file, a model or rows cannot be used. What is wrong with one run alone is not raised.
        Interrupted: the same call continues.
    """
    out = Path(out)
    plan, runs = read_sweep(file)
    _make(out, Path(file))
    with _continued():
        study = SweepStudy(plan.name, storage, out)
        say(
            f"{len(runs)} runs. The target model is measured first{', and the retain model' * bool(plan.retain_model)}."
        )
        measured = measure_models(plan, out)
        study.begin(runs, measured.model.fingerprint)
        _copy(Path(file), out)
        for name, outcome in study.outcomes().items():
            if outcome is not None and plan.keep == "none":
                drop_weights(out / RUNS / name)  # a kill came between the two
        if workers == 1:
            take_runs(plan, runs, study, out, say)
        else:
            _start(workers, file, out, storage)
    table = write(plan, runs, study, out)
    write_picture(out, table)
    return table


def take_runs(plan: Sweep, runs: Sequence[Run], study: SweepStudy, out: Path, say: Callable[[str], None]) -> None:
    """Work in this process until every run has ended; the tables are written after each."""

    def ended(run: Run, outcome: Outcome) -> None:
        table = write(plan, runs, study, out)
        say(f"[{sum(map(bool, study.outcomes().values()))}/{len(runs)}] {run.name}: {_in_words(outcome, table)}")

    work(plan, {run.name: run for run in runs}, study, out, ended)


def worker(file: str | Path, out: str | Path, storage: str | None, say: Callable[[str], None]) -> None:
    """One of the processes that `sweep` starts: the models are measured, and the runs are in the study."""
    plan, runs = read_sweep(file)
    with _continued():
        take_runs(plan, runs, SweepStudy(plan.name, storage, Path(out)), Path(out), say)


def write(plan: Sweep, runs: Sequence[Run], study: SweepStudy, out: Path) -> list[Line]:
    """Write the tables of what there is so far."""
    place, outcomes = out / MODELS, study.outcomes()
    files: dict[Role, Path] = {"target": place / RESULTS}
    if plan.retain_model is not None:
        files["retain"] = companion_path(place / RESULTS, "retain")
    attacked = [AttackRow(**row) for row in read_object(place / ATTACK)["rows"]] if plan.attacks else []
    models = {
        role: numbers_of(load_results(file, table=False)) | attacked_numbers(attacked, role)
        for role, file in files.items()
    }
    table = lines(models, runs, outcomes)
    write_tables(out, table, runs, outcomes)
    return table


def _make(out: Path, file: Path) -> None:
    """Make the sweep's folder; refuse one that holds anything else."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / FILE).is_file()):
        raise InputError(f"{out} holds something else than a sweep. Choose another --out, or remove it first.")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / FILE).is_file():
        _copy(file, out)


def _copy(file: Path, out: Path) -> None:
    with whole_file(out / FILE) as part:
        part.write_text(file.read_text(encoding="utf-8") if file.is_file() else f"# {file}\n", encoding="utf-8")


@contextmanager
def _continued() -> Iterator[None]:
    """Say of an interruption how a sweep is continued, not how its run is."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        raise Interrupted("interrupted. What is done is kept: continue with the same command.") from error


def _in_words(outcome: Outcome, table: Sequence[Line]) -> str:
    if outcome.status != "done":
        return f"{outcome.status}: {outcome.reason}"
    shown = [name for name in leading(table) if name is not None and outcome.numbers.get(name) is not None]
    numbers = [f"{name} {outcome.numbers[name]:.3f}" for name in shown]
    return f"{', '.join(numbers) or 'measured'} ({outcome.seconds:.0f} s)"


def _start(workers: int, file: str | Path, out: Path, storage: str | None) -> None:
    """Start workers on this machine, and wait for them; GPUs and cores are divided among them.

    Raises:
        InputError: one ended with exit code 2, after it said why.
    """
    command = [sys.executable, "-m", "expunge", "sweep", str(file), "--out", str(out), "--worker"]
    command += [] if storage is None else ["--storage", storage]
    processes = [subprocess.Popen(command, env=_environment(i, workers)) for i in range(workers)]
    try:
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            process.wait()
    if any(process.returncode == 2 for process in processes):
        raise InputError("a worker stopped; what is done is kept, and the same command continues.")


def _environment(number: int, workers: int) -> dict[str, str]:
    """A GPU for each worker where there are several, and its share of the cores."""
    environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)), **os.environ}
    gpus = torch.cuda.device_count()
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % gpus]
    return environment
