"""The papers' scenarios, one file each: what is asked, which objectives, and the table that comes out."""

from expunge.scenarios.base import Scenario, Sources, TableRow
from expunge.scenarios.continual import CONTINUAL
from expunge.scenarios.harmful import HARMFUL

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (CONTINUAL, HARMFUL)}

__all__ = ["SCENARIOS", "Scenario", "Sources", "TableRow"]
