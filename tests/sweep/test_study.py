"""Workers that are killed, and the runs they had."""

import pytest

from expunge.errors import InputError
from expunge.sweep import read_sweep, study
from expunge.sweep.study import MOST_DEATHS, Outcome, SweepStudy


@pytest.fixture(params=["database", "journal"])
def opened(request, tmp_path):
    """Opens the same study again and again, as so many workers would."""
    storage = None if request.param == "database" else str(tmp_path / "journal.log")
    return lambda: SweepStudy("trial", storage, tmp_path)


@pytest.fixture
def runs(sweep_file):
    return read_sweep(sweep_file(seeds=[0]))[1]


def test_each_run_is_given_once(opened, runs):
    workers = [opened(), opened()]
    for worker in workers:
        worker.begin(runs, "target")
    taken = [worker.take()[1] for worker in workers]
    assert sorted(taken) == sorted(run.name for run in runs)
    assert opened().take() is None


def test_the_run_of_a_living_worker_is_left_to_it(opened, runs, monkeypatch):
    opened().begin(runs[:1], "target")
    assert opened().take()
    assert opened().take() is None
    monkeypatch.setattr(study, "_is_running", lambda pid, started: False)
    assert opened().take()[1] == runs[0].name


def test_a_worker_of_another_machine_is_gone_when_it_stops_counting(opened, runs, monkeypatch):
    opened().begin(runs[:1], "target")
    away = opened().take()[0]
    monkeypatch.setattr(study, "_machine", lambda: "another")
    now = [1000.0]
    monkeypatch.setattr(study.time, "monotonic", lambda: now[0])
    watching = opened()
    assert watching.take() is None
    now[0] += 0.9 * study.GRACE
    assert watching.take() is None
    away.set_user_attr("beat", 1)
    now[0] += 0.9 * study.GRACE
    assert watching.take() is None  # it counted meanwhile
    now[0] += 1.1 * study.GRACE
    assert watching.take()[1] == runs[0].name


def test_a_worker_counts_while_it_works(opened, runs, monkeypatch):
    monkeypatch.setattr(study, "BEAT", 0.01)
    worker = opened()
    worker.begin(runs[:1], "target")
    trial, _ = worker.take()
    with worker.alive(trial):
        study.time.sleep(0.5)
    assert opened()._study.trials[0].user_attrs["beat"] >= 1


def test_a_run_that_kills_its_workers_fails_in_the_end(opened, runs, monkeypatch):
    monkeypatch.setattr(study, "_is_running", lambda pid, started: False)
    worker = opened()
    worker.begin(runs, "target")
    worker.finish(worker.take()[0], Outcome("done", numbers={"a": 1.0}))
    for _ in range(MOST_DEATHS):
        assert worker.take()[1] == runs[1].name
    assert worker.take() is None
    outcomes = worker.outcomes()
    assert outcomes[runs[0].name] == Outcome("done", numbers={"a": 1.0})
    assert outcomes[runs[1].name].status == "failed"
    assert "killed 3 times" in outcomes[runs[1].name].reason


def test_a_run_that_was_put_back_is_taken_again(opened, runs):
    worker = opened()
    worker.begin(runs[:1], "target")
    worker.put_back(worker.take()[0])
    assert worker.outcomes() == {runs[0].name: None}
    assert opened().take()[1] == runs[0].name


def test_another_target_model_or_fewer_runs_are_refused(opened, runs):
    opened().begin(runs, "target")
    with pytest.raises(InputError, match="target model's weights"):
        opened().begin(runs, "another")
    with pytest.raises(InputError, match="is not in the file now"):
        opened().begin(runs[:1], "target")
