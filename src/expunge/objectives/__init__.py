"""The maths: one small file per method, pure functions of tensors.

To add a term, write its file and add one row to `TERMS`; the tests, the docs table and `expunge methods` pick it up.
"""

from collections.abc import Mapping
from typing import Any

from expunge.objectives.altpo import AltPO
from expunge.objectives.ap import AP
from expunge.objectives.base import Needs, Term, View, Views, single_batch
from expunge.objectives.ceu import CEU
from expunge.objectives.composite import Objective, Weighted
from expunge.objectives.composite import build as _build
from expunge.objectives.distill import DISTILL
from expunge.objectives.dpo import DPO
from expunge.objectives.embed import EMBED
from expunge.objectives.flat import FLAT
from expunge.objectives.ga import GA
from expunge.objectives.gd import GD
from expunge.objectives.idk import IDK
from expunge.objectives.kl import KL
from expunge.objectives.logprobs import log_probability
from expunge.objectives.me import ME
from expunge.objectives.mismatch import MISMATCH
from expunge.objectives.npo import NPO
from expunge.objectives.pdu import PDU
from expunge.objectives.reset import RESET
from expunge.objectives.rmu import RMU
from expunge.objectives.satimp import SatImp
from expunge.objectives.simnpo import SimNPO
from expunge.objectives.undial import UNDIAL
from expunge.objectives.wga import WGA

TERMS: dict[str, type[Term]] = {
    "GA": GA,
    "NPO": NPO,
    "SimNPO": SimNPO,
    "DPO": DPO,
    "IDK": IDK,
    "ME": ME,
    "MISMATCH": MISMATCH,
    "RMU": RMU,
    "UNDIAL": UNDIAL,
    "WGA": WGA,
    "SatImp": SatImp,
    "CE-U": CEU,
    "AltPO": AltPO,
    "FLAT": FLAT,
    "PDU": PDU,
    "DISTILL": DISTILL,
    "RESET": RESET,
    "GD": GD,
    "KL": KL,
    "AP": AP,
    "EMBED": EMBED,
}

# Named objectives that are more than F+R: terms with the weights of their paper.
COMPOSITES: dict[str, tuple[tuple[str, float], ...]] = {
    "LLMU": (("GA", 0.5), ("MISMATCH", 1.0), ("KL", 1.0)),
}


def build_objective(
    spec: str | Term | Objective, options: Mapping[str, Any] | None = None, custom: Mapping[str, Any] | None = None
) -> Objective:
    """Make an objective from its name ("NPO+GD", "LLMU") and options (`beta`, `AP.beta`, `forget_weight`, ...).

    `custom` are custom terms by name; no file is run here.
    """
    return _build(spec, options, terms=TERMS, composites=COMPOSITES, custom=custom)


__all__ = [
    "COMPOSITES",
    "RESET",
    "TERMS",
    "Needs",
    "Objective",
    "Term",
    "View",
    "Views",
    "Weighted",
    "build_objective",
    "log_probability",
    "single_batch",
]
