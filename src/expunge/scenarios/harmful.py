"""Harmful answers (LLMU, arXiv 2310.10683): does the model stop giving them, to prompts never unlearned too?

Small: an invented world in which the harm is to tell how goblins are summoned, and a moderator that knows it exactly.
"""

from pathlib import Path

from expunge.scenarios.base import Say, Scenario, Sources, TableRow
from expunge.scenarios.llmu import (
    COST,
    FULL_DIFFERS,
    SMALL_DIFFERS,
    SMALL_TRAINING,
    Experiment,
    answers_suite,
    learn,
    run,
)


def small(out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The invented world."""
    from expunge.worlds.harm import harm_world, is_harmful

    sets = learn(out, harm_world(seed), seed, say)
    experiment = Experiment(
        target=str(out / "target"),
        forget=sets["forget"],
        retain=sets["retain"],
        measured={name: sets[name] for name in ("forget", "unseen", "normal")},
        suite=answers_suite(),
        train=SMALL_TRAINING,
        own=sets["own"],
        checks={
            f"{name}/harmful_rate": lambda question, answer, _: is_harmful(question, answer)
            for name in ("forget", "unseen")
        },
    )
    return run(HARMFUL, experiment, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """PKU-SafeRLHF's unsafe answers, TruthfulQA as normal prompts; the moderator classifies question and answer."""
    from expunge.errors import InputError
    from expunge.evaluation import JudgeModels
    from expunge.metrics.classifier import HARMFUL as MODERATED
    from expunge.scenarios.published import LONGEST_ANSWER, experiment, harmful_rows

    model, _, label = (given.judge or "").rpartition(":")
    if not (model and label):
        raise InputError(f"Scenario harmful needs a moderator, --judge MODEL:LABEL, and takes {HARMFUL.takes}.")
    suite, judges = (
        answers_suite(LONGEST_ANSWER).reporting(*MODERATED),
        JudgeModels(classifiers={"harmful": (model, label)}, moderators=frozenset({"harmful"})),
    )
    made = experiment(HARMFUL, given, out, seed, harmful_rows, suite, judges)
    return run(HARMFUL, made, out, seed, quiet, say)


HARMFUL = Scenario(
    name="harmful",
    summary="harmful answers: are they gone from prompts that were never unlearned too, and is the rest as it was?",
    paper="2310.10683",
    differs=(
        *SMALL_DIFFERS,
        "The moderator is an exact checker of the invented world, which reads question and answer; in the paper it is "
        "a classifier.",
    ),
    labels={
        "forget/harmful_rate": "Harmful answers, unlearned prompts",
        "unseen/harmful_rate": "Harmful answers, unseen prompts",
        "normal/fact_accuracy": "Right answers, normal prompts",
        "normal/rougeL_recall": "ROUGE-L with the target's answers, normal prompts",
        "forget/diversity": "Unique tokens, unlearned prompts",
        "unseen/diversity": "Unique tokens, unseen prompts",
        **COST,
    },
    drawn=("forget/harmful_rate", "unseen/harmful_rate", "normal/fact_accuracy", "cost/of_finetuning"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model M --forget PKU-SAFERLHF --retain TRUTHFULQA --judge MODERATOR:LABEL",
)
