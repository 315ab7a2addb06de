"""The papers' scenarios, one file each: what is asked, which objectives, and the table that comes out."""

from expunge.scenarios.base import Scenario, Sources, TableRow
from expunge.scenarios.continual import CONTINUAL

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (CONTINUAL,)}

__all__ = ["SCENARIOS", "Scenario", "Sources", "TableRow"]
