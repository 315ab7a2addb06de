"""Attacks: does it come back? One file and one row of `ATTACKS` each; each meets target, unlearned and retain alike."""

from expunge.attacks import relearn as _relearn
from expunge.attacks.base import ROLES, Attack, AttackData, AttackRow, Curve, Findings, NotMeasured, Role, Subject
from expunge.attacks.relearn import relearn

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            "relearn",
            "fine-tune on part of the forget rows or on unrelated ones, and measure the other forget rows",
            "2406.13356",
            _relearn.run,
            {"steps": _relearn.STEPS, "rates": _relearn.RATES, "batch_rows": _relearn.BATCH_ROWS},
        ),
    )
}

__all__ = [
    "ATTACKS",
    "ROLES",
    "Attack",
    "AttackData",
    "AttackRow",
    "Curve",
    "Findings",
    "NotMeasured",
    "Role",
    "Subject",
    "relearn",
]
