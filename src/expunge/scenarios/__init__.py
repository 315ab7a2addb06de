"""The papers' scenarios, one file each: what is asked, which objectives, and the table that comes out."""

from expunge.scenarios.base import Scenario, TableRow
from expunge.scenarios.continual import CONTINUAL
from expunge.scenarios.medforget import MEDFORGET

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (CONTINUAL, MEDFORGET)}

__all__ = ["SCENARIOS", "Scenario", "TableRow"]
