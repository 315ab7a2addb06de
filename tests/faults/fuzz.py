"""Many made-up inputs, the same in every run; and how many were tried."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from expunge.errors import InputError


def refusal(use: Callable[[], Any]) -> str | None:
    """The message that refuses an input; None: it was used. Whatever else is raised is a fault."""
    try:
        use()
    except InputError as error:
        return str(error)
    return None


# A few in every run of the tests, many in the slow ones.
FEW_AND_MANY = pytest.mark.parametrize("examples", [25, pytest.param(400, marks=pytest.mark.slow)])


def fuzz(strategy: SearchStrategy, check: Callable[[Any], None], examples: int, record_property) -> None:
    """Check so many examples; the first that fails is made as small as it can be."""
    tried = 0

    @settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def run(example):
        nonlocal tried
        tried += 1
        check(example)

    try:
        run()
    finally:
        record_property("tried", min(tried, examples))
