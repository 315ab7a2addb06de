"""The papers' scenarios, one file each: what is asked, which objectives, and the table that comes out."""

from expunge.scenarios.base import Scenario, Sources, TableRow
from expunge.scenarios.continual import CONTINUAL
from expunge.scenarios.fictitious import FICTITIOUS
from expunge.scenarios.people import PEOPLE_SCENARIO

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (FICTITIOUS, CONTINUAL, PEOPLE_SCENARIO)}

__all__ = ["SCENARIOS", "Scenario", "Sources", "TableRow"]
