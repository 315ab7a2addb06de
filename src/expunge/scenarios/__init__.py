"""The papers' scenarios, one file each: what is asked, which objectives, and the table that comes out."""

from expunge.scenarios.base import Scenario, Sources, TableRow, claim
from expunge.scenarios.continual import CONTINUAL
from expunge.scenarios.copyright import COPYRIGHT
from expunge.scenarios.fictitious import FICTITIOUS
from expunge.scenarios.hallucinations import HALLUCINATIONS
from expunge.scenarios.harmful import HARMFUL
from expunge.scenarios.medforget import MEDFORGET
from expunge.scenarios.medforget_images import MEDFORGET_IMAGES
from expunge.scenarios.muse import MUSE_SCENARIO
from expunge.scenarios.people import PEOPLE_SCENARIO
from expunge.scenarios.rwku import RWKU
from expunge.scenarios.wmdp import WMDP_SCENARIO

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        *(FICTITIOUS, CONTINUAL, PEOPLE_SCENARIO),
        *(HARMFUL, COPYRIGHT, HALLUCINATIONS),
        *(MUSE_SCENARIO, WMDP_SCENARIO, RWKU),
        *(MEDFORGET, MEDFORGET_IMAGES),
    )
}

__all__ = ["SCENARIOS", "Scenario", "Sources", "TableRow", "claim"]
