"""The suites, one small file each. To add one: write its file, add it to this table."""

from expunge.evaluation.suite import Suite
from expunge.evaluation.suites.closer_look import CLOSER_LOOK
from expunge.evaluation.suites.general import GENERAL
from expunge.evaluation.suites.llmu import LLMU
from expunge.evaluation.suites.muse import MUSE
from expunge.evaluation.suites.own import OWN
from expunge.evaluation.suites.real_people import REAL_PEOPLE
from expunge.evaluation.suites.tofu import TOFU
from expunge.evaluation.suites.wmdp import WMDP

SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (TOFU, CLOSER_LOOK, REAL_PEOPLE, MUSE, LLMU, OWN, WMDP, GENERAL)
}
