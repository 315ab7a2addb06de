"""The runs of a sweep in Optuna's storage: which are waiting, who works on which, and what came of them.

A run is a trial; when it is taken up again, it is a new one, and the newest counts. Workers show that they are alive by
a number that they count up, so that no two machines' clocks are compared; on one machine a look at the process is
enough.
"""

import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import optuna
import psutil
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from expunge.errors import InputError
from expunge.sweep.plan import Run

BEAT, GRACE = 15.0, 120.0
"""Seconds between two signs of life, and without one until a worker of another machine counts as gone."""
MOST_DEATHS = 3
"""How often a run's worker may be killed before the run counts as failed: its memory may not suffice."""
PATIENCE = 60  # seconds to wait for a database file that another worker is writing to

Status = Literal["done", "diverged", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        status: measured; stopped as its loss was no longer finite; or failed otherwise, which may go better next time.
        reason: why it is not done.
        numbers: what was measured, by name.
        seconds: it took, unlearning and measuring together, since it was last taken up.
    """

    status: Status
    reason: str = ""
    numbers: dict[str, float | None] = field(default_factory=dict)
    seconds: float = 0.0


class SweepStudy:
    """A sweep's study.

    Args:
        name: of the study, the same for all workers.
        storage: a URL of a database, or a file for a journal; None: a database in the folder.
        folder: of the sweep.

    Raises:
        InputError: the storage cannot be opened.
    """

    def __init__(self, name: str, storage: str | None, folder: Path) -> None:
        self._lock = FileLock(folder / "study.lock")  # SQLite would let two workers take the same trial
        self._seen: dict[int, tuple[Any, float]] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optuna calls experimental is not the user's concern
            sampler = optuna.samplers.RandomSampler()  # every trial is given; none is sampled
            opened = _storage(storage or f"sqlite:///{folder.absolute() / 'study.db'}")
            self._study = optuna.create_study(storage=opened, sampler=sampler, study_name=name, load_if_exists=True)

    def begin(self, runs: Sequence[Run], target: str) -> None:
        """Put what has to be done into the queue; what failed before is tried again, what diverged is not.

        Args:
            runs: of the sweep's file.
            target: fingerprint of the target model's weights.

        Raises:
            InputError: the study was begun with another target model, or with other settings of a run.
        """
        with self._lock:
            before = self._study.user_attrs.get("target")
            if before not in (None, target):
                raise InputError(
                    "The target model's weights are not those that the sweep was begun with. Put them back, or choose "
                    "another --out."
                )
            self._study.set_user_attr("target", target)
            latest, keys = self._latest(), {run.name: run.key for run in runs}
            for name, trial in latest.items():
                if keys.get(name) != trial.user_attrs["key"]:
                    what = "is not in the file" if name not in keys else "has other settings in the file"
                    raise InputError(
                        f"The sweep was begun with a run {name}, which {what} now. Runs and seeds may be added to a "
                        "sweep; for anything else choose another --out (and another name, where the storage is shared)."
                    )
            for run in runs:
                trial = latest.get(run.name)
                outcome = trial and _outcome(trial)
                if trial is None or (outcome and outcome.status == "failed"):
                    self._enqueue(run.name, run.key)

    def take(self) -> tuple[Trial, str] | None:
        """Take the next waiting run; runs whose worker is gone wait again first.

        Returns:
            The trial, and the run's name; None where nothing is waiting.
        """
        with self._lock:
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if "run" in trial.user_attrs and self._is_gone(trial):
                    self._take_back(trial)
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return None
            trial = self._study.ask()
            name = trial.user_attrs.get("run")
            if name is None:  # a worker without access to the folder's lock was faster
                self._study.tell(trial, state=TrialState.PRUNED)
                return None
            trial.set_user_attr("worker", _this_process())
            return trial, name

    @contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Give signs of life in the block."""
        ended = threading.Event()

        def beat() -> None:
            count = 0
            while not ended.wait(BEAT):
                count += 1
                try:
                    trial.set_user_attr("beat", count)
                except Exception as error:  # a storage that is out of reach for a while; the next one may arrive
                    warnings.warn(f"The study's storage could not be written to: {error}", stacklevel=1)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Write down what came of a run; Optuna's own value is the seconds that it took."""
        trial.set_user_attr("outcome", asdict(outcome))
        self._study.tell(trial, outcome.seconds, skip_if_finished=True)

    def put_back(self, trial: Trial) -> None:
        """Let a run that was begun wait again."""
        with self._lock:
            self._enqueue(trial.user_attrs["run"], trial.user_attrs["key"], trial.user_attrs.get("deaths", 0))
            self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def outcomes(self) -> dict[str, Outcome | None]:
        """What came of each run, by name; None: it is waiting or under way."""
        return {name: _outcome(trial) for name, trial in self._latest().items()}

    def _latest(self) -> dict[str, FrozenTrial]:
        """The newest trial of each run."""
        trials = sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)
        return {trial.user_attrs["run"]: trial for trial in trials if "run" in trial.user_attrs}

    def _enqueue(self, name: str, key: str, deaths: int = 0) -> None:
        self._study.enqueue_trial({}, user_attrs={"run": name, "key": key, "deaths": deaths})

    def _is_gone(self, trial: FrozenTrial) -> bool:
        """Whether the worker of a trial that is under way was killed."""
        worker, beat = trial.user_attrs.get("worker"), trial.user_attrs.get("beat")
        if worker and worker["machine"] == _machine():
            return not _is_running(worker["pid"], worker["started"])
        at, since = self._seen.get(trial.number, (object(), 0.0))
        if at != beat:
            self._seen[trial.number] = (beat, time.monotonic())
            return False
        return time.monotonic() - since > GRACE

    def _take_back(self, trial: FrozenTrial) -> None:
        """Let the run of a worker that is gone wait again, unless that happened too often."""
        name, key, deaths = trial.user_attrs["run"], trial.user_attrs["key"], trial.user_attrs["deaths"] + 1
        if deaths < MOST_DEATHS:
            self._enqueue(name, key, deaths)
        else:
            reason = f"its worker was killed {deaths} times; there may be too little memory for it"
            told = {"run": name, "key": key, "outcome": asdict(Outcome("failed", reason))}
            self._study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs=told))
        self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def _outcome(trial: FrozenTrial) -> Outcome | None:
    found = trial.user_attrs.get("outcome")
    return Outcome(**found) if found and trial.state == TrialState.COMPLETE else None


def _storage(place: str) -> BaseStorage:
    try:
        if "://" not in place:
            Path(place).absolute().parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(place))
        settings = {"connect_args": {"timeout": PATIENCE}} if place.startswith("sqlite") else None
        return RDBStorage(place, engine_kwargs=settings)
    except Exception as error:  # of whichever database it is
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--storage {place}: cannot be opened ({first}). Give a URL such as sqlite:///study.db, whose database is "
            "there and whose driver is installed, or a file for a journal."
        ) from error


def _machine() -> str:
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _this_process() -> dict[str, Any]:
    return {"machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _is_running(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
