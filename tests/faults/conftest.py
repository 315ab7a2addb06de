"""The server of processes, and the table of what was tried: `make faults`."""

import time
from collections import Counter

import pytest

from faults.commands import OUT
from faults.forks import Forks


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Runs commands in processes that can be killed."""
    server = Forks(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def whole(forks, model_folder, data, tmp_path_factory):
    """Commands that nobody disturbs, once each: where they went, what they changed, how many seconds they took."""
    done = {}

    def of(name, words):
        if name not in done:
            folder = tmp_path_factory.mktemp("whole")
            began = time.monotonic()
            ended = forks.run([*words, "--out", folder / OUT[words[0]]], under=folder)
            assert ended.code == 0, ended.said
            done[name] = folder, ended.changes, time.monotonic() - began
        return done[name]

    return of


@pytest.fixture(autouse=True)
def _counted(request, record_property):
    """Say in the test's report what kind of fault it tries."""
    if mark := request.node.get_closest_marker("fault"):
        record_property("fault", mark.args[0])


def pytest_terminal_summary(terminalreporter):
    """Kind, tried, passed, failed. A test tries one fault, unless it records how many it `tried`."""
    tried, failed = Counter(), Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = dict(report.user_properties)
            if kind := properties.get("fault"):
                tried[kind] += properties.get("tried", 1)
                failed[kind] += outcome == "failed"
    if not tried:
        return
    terminalreporter.section("faults")
    width = max(map(len, tried))
    terminalreporter.write_line(f"| {'kind':{width}} | tried | passed | failed |")
    terminalreporter.write_line(f"| {'-' * width} | ----: | -----: | -----: |")
    for kind in sorted(tried):
        passed = tried[kind] - failed[kind]
        terminalreporter.write_line(f"| {kind:{width}} | {tried[kind]:5,} | {passed:6,} | {failed[kind]:6,} |")
