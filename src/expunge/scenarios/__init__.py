"""The papers' scenarios, one file each: what is asked, which objectives, and the table that comes out."""

from expunge.scenarios.base import Scenario, Sources, TableRow, claim
from expunge.scenarios.continual import CONTINUAL
from expunge.scenarios.copyright import COPYRIGHT
from expunge.scenarios.hallucinations import HALLUCINATIONS
from expunge.scenarios.harmful import HARMFUL
from expunge.scenarios.medforget import MEDFORGET

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (CONTINUAL, HARMFUL, COPYRIGHT, HALLUCINATIONS, MEDFORGET)
}

__all__ = ["SCENARIOS", "Scenario", "Sources", "TableRow", "claim"]
