"""Hallucinations (LLMU, arXiv 2310.10683): does the model stop telling falsehoods, those never unlearned too?

Small: an invented world, some kinds of whose facts the target has learned wrongly, and a checker that knows the truth.
"""

from pathlib import Path

from expunge.scenarios.base import Say, Scenario, TableRow
from expunge.scenarios.llmu import COST, SMALL_DIFFERS, SMALL_TRAINING, Experiment, exact_suite, learn, run


def small(out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The invented world."""
    from expunge.worlds.hallucination import hallucinates, hallucinating_world

    sets = learn(out, hallucinating_world(seed), seed, say)
    experiment = Experiment(
        target=str(out / "target"),
        forget=sets["forget"],
        retain=sets["retain"],
        measured={name: sets[name] for name in ("forget", "unseen", "normal")},
        suite=exact_suite(),
        train=SMALL_TRAINING,
        checks={
            f"{name}/hallucination_rate": lambda _, answer, row: hallucinates(answer, row)
            for name in ("forget", "unseen")
        },
    )
    return run(HALLUCINATIONS, experiment, out, seed, quiet, say)


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
)
