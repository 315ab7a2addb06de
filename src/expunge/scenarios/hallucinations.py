"""Hallucinations (LLMU, arXiv 2310.10683): does the model stop telling falsehoods, those never unlearned too?

Small: an invented world, some kinds of whose facts the target has learned wrongly, and a checker that knows the truth.
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
    from expunge.worlds.hallucination import hallucinates, hallucinating_world

    sets = learn(out, hallucinating_world(seed), seed, say)
    experiment = Experiment(
        target=str(out / "target"),
        forget=sets["forget"],
        retain=sets["retain"],
        measured={name: sets[name] for name in ("forget", "unseen", "normal")},
        suite=answers_suite(),
        train=SMALL_TRAINING,
        own=sets["own"],
        checks={
            f"{name}/hallucination_rate": lambda _, answer, row: hallucinates(answer, row)
            for name in ("forget", "unseen")
        },
    )
    return run(HALLUCINATIONS, experiment, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """HaluEval's hallucinated answers, TruthfulQA as normal prompts, and a model of embeddings as the judge."""
    from expunge.errors import InputError
    from expunge.evaluation import JudgeModels
    from expunge.metrics.hallucination import HALLUCINATION_RATE
    from expunge.scenarios.published import LONGEST_ANSWER, experiment, hallucinated_rows

    if given.judge is None:
        raise InputError(f"Scenario hallucinations needs --judge EMBEDDINGS, and takes {HALLUCINATIONS.takes}.")
    suite, judges = (
        answers_suite(LONGEST_ANSWER).reporting(HALLUCINATION_RATE),
        JudgeModels(embedding_model=given.judge),
    )
    made = experiment(HALLUCINATIONS, given, out, seed, hallucinated_rows, suite, judges)
    return run(HALLUCINATIONS, made, out, seed, quiet, say)


HALLUCINATIONS = Scenario(
    name="hallucinations",
    summary="false answers: are they gone from questions that were never unlearned too, and is the rest as it was?",
    paper="2310.10683",
    differs=(
        *SMALL_DIFFERS,
        "An answer is a hallucination where it names another value of what is asked than the true one, which an exact "
        "checker knows; in the paper, where it is more like the false than like the right answer.",
        "The target has never learned the true answers to what it tells wrongly, so that unlearning cannot bring them "
        "out.",
    ),
    labels={
        "forget/hallucination_rate": "Hallucinations, unlearned questions",
        "unseen/hallucination_rate": "Hallucinations, unseen questions",
        "forget/fact_accuracy": "Right answers, unlearned questions",
        "normal/fact_accuracy": "Right answers, normal questions",
        "normal/rougeL_recall": "ROUGE-L with the target's answers, normal questions",
        "forget/diversity": "Unique tokens, unlearned questions",
        "unseen/diversity": "Unique tokens, unseen questions",
        **COST,
    },
    drawn=("forget/hallucination_rate", "unseen/hallucination_rate", "normal/fact_accuracy", "cost/of_finetuning"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model M --forget HALUEVAL-QA --retain TRUTHFULQA --judge EMBEDDINGS",
)
