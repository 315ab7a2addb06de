"""The suites, one small file each. To add one: write its file, add it to this table."""

from expunge.custom import is_custom, load_custom
from expunge.errors import InputError, unknown
from expunge.evaluation.suites.closer_look import CLOSER_LOOK
from expunge.evaluation.suites.general import GENERAL
from expunge.evaluation.suites.llmu import LLMU
from expunge.evaluation.suites.muse import MUSE
from expunge.evaluation.suites.own import OWN
from expunge.evaluation.suites.real_people import REAL_PEOPLE
from expunge.evaluation.suites.suite import ANSWER, SetSpec, Suite
from expunge.evaluation.suites.tofu import TOFU
from expunge.evaluation.suites.wmdp import WMDP

SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (TOFU, CLOSER_LOOK, REAL_PEOPLE, MUSE, LLMU, OWN, WMDP, GENERAL)
}


def find_suite(suite: str | Suite) -> Suite:
    """A suite by its name, or a custom one: itself, or `file.py:NAME`.

    Raises:
        InputError: there is no such suite.
    """
    if isinstance(suite, Suite):
        return suite
    if suite in SUITES:
        return SUITES[suite]
    if not is_custom(suite):
        raise unknown("suite", suite, SUITES)
    found = load_custom(suite)
    if not isinstance(found, Suite):
        raise InputError(f"{suite}: not a suite but of type {type(found).__name__}. See CONTRIBUTING.md.")
    return found


__all__ = ["ANSWER", "SUITES", "SetSpec", "Suite", "find_suite"]
