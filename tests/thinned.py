"""Cases of a table: some in every run of the suite, the others in its slow part."""

from collections.abc import Iterable

import pytest


def thinned(cases: Iterable, *often) -> list:
    """The cases, those that are not named here marked as slow.

    Raises:
        ValueError: One that is named is no case.
    """
    cases = list(cases)
    if missing := [name for name in often if name not in cases]:
        raise ValueError(f"no such case: {missing}")
    return [pytest.param(one, marks=() if one in often else pytest.mark.slow, id=str(one)) for one in cases]
