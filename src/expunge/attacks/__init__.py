"""Attacks: does it come back? One file and one row of `ATTACKS` each; each meets target, unlearned and retain alike."""

from expunge.attacks import mia as _mia
from expunge.attacks import patching as _patching
from expunge.attacks import probe as _probe
from expunge.attacks import prompts as _prompts
from expunge.attacks import quantize as _quantize
from expunge.attacks import relearn as _relearn
from expunge.attacks import sample as _sample
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
        Attack(
            "sample",
            "answer each question many times: how often does it slip out, and how often could it?",
            "2511.04934, 2410.03523",
            _sample.run,
            {"answers": _sample.ANSWERS, "temperature_top_p": _sample.DECODING, "k": _sample.K},
        ),
        Attack(
            "prompts",
            "ask in other words, in a role, with the answer begun, or after examples",
            "2402.16835",
            _prompts.run,
            {"prompts": tuple(_prompts.PROMPTS), "shots": _prompts.SHOTS, "first_words": _prompts.FIRST_WORDS},
        ),
        Attack(
            "probe",
            "read the layers: logit lens, linear probes, activation patching",
            "2605.24614",
            _probe.run,
            {"folds": _probe.FOLDS, "ridge": _probe.RIDGE, "least_loss": _patching.LEAST_LOSS},
            compares=True,
        ),
        Attack(
            "mia",
            "membership inference: tell the forget rows from rows that were never trained on",
            "2506.12618, 2112.03570",
            _mia.run,
            {"false_alarms": _mia.FALSE_ALARMS},
        ),
        Attack(
            "quantize",
            "load the model with fewer bits: int8, nf4, round-to-nearest 4-bit",
            "2410.16454",
            _quantize.run,
            {"bits": (*_quantize.BITSANDBYTES, _quantize.ROUNDED), "block": _quantize.BLOCK},
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
