"""Real people (arXiv 2410.08109): some are to be forgotten; their neighbours and general knowledge must stay.

Half of the neighbours are the retain set, the other half are measured and in no training. Small: an invented world, of
which two people of twenty are to be forgotten.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expunge.scenarios.base import Say, Scenario, Sources, TableRow, learn_tiny
from expunge.scenarios.compare import Request, compare, published
from expunge.scenarios.fictitious import EPOCHS, SETTINGS

if TYPE_CHECKING:
    from expunge.evaluation.suites import Suite

METHODS = ("GA+GD", "GA+KL", "NPO+GD", "NPO+KL", "ME+GD", "DPO+GD", "DPO+KL", "IDK+GD", "IDK+AP")
PEOPLE, FORGET_PERCENT = 20, 10
LABELS = {
    "forget_efficacy": "Forget efficacy",
    "forget_efficacy_partial": "Forget efficacy, over what was measured",
    "forget/fact_accuracy": "Forgotten facts that are still said",
    "forget/rougeL_recall": "ROUGE-L recall of forgotten answers",
    "forget/probability": "Probability of forgotten answers",
    "forget/cosine_similarity": "Cosine similarity to forgotten answers",
    "forget/entailment": "Entailment of forgotten answers",
    "neighbor/fact_accuracy": "Facts about neighbours",
    "neighbor/rougeL_recall": "ROUGE-L recall about neighbours",
    "neighbor/probability": "Probability of answers about neighbours",
    "general/fact_accuracy": "General tasks: right answers",
    "general/rougeL_recall": "General tasks: ROUGE-L recall",
}


def small(out: Path, seed: int, quiet: bool, say: Say, methods: Sequence[str] = METHODS) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where world and models are written.
        seed: of world, model and training.
        quiet: no progress bars.
        say: is told about each step.
        methods: objectives.
    """
    from expunge.evaluation import Questions

    rows = write_rows(out / "rows", seed)
    if not (out / "target").is_dir():
        say("The target model is learning (about a minute)")
        learn_tiny(f"{rows}:full", out / "target", seed, {"num_train_epochs": EPOCHS})
    request = Request(
        str(out / "target"),
        f"{rows}:forget",
        f"{rows}:neighbor",
        Questions(small_suite(), rows),
        tuple(LABELS),
        SETTINGS,
    )
    return list(compare(request, methods, out / "runs", seed, quiet, say))


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The paper's setting on a model that knows the people, on data in the released layout.

    The data has the configurations forget, forget_perturbed, neighbor and neighbor_perturbed.

    Raises:
        InputError: no data is given, or the rows cannot be used.
    """
    from expunge.data import load_rows
    from expunge.errors import InputError
    from expunge.evaluation import Questions

    if given.data is None:
        raise InputError(f"Scenario {PEOPLE_SCENARIO.name} needs {PEOPLE_SCENARIO.takes}.")
    request = Request(
        given.model,
        f"{given.data}:forget",
        given.retain or f"{given.data}:neighbor",
        Questions("closer_look_real_people", given.data),
        tuple(LABELS),
        published(len(load_rows(f"{given.data}:forget")), 5e-6, 300),
        options={"ME+GD": {"forget_weight": 0.5}},
        judges=given.judges,
    )
    return list(compare(request, METHODS, out / "runs", seed, quiet, say))


def write_rows(folder: Path, seed: int) -> Path:
    """Write the small form's rows: forget, neighbours for training and others to measure, and general knowledge."""
    from expunge.worlds.corpus import make_world, write_files

    world = make_world(PEOPLE, FORGET_PERCENT, seed)
    rows_of_one = len(world.forget) // max(1, round(PEOPLE * FORGET_PERCENT / 100))
    trained = [row for i, row in enumerate(world.retain) if i // rows_of_one % 2 == 0]  # every second neighbour
    measured = [row for i, row in enumerate(world.retain) if i // rows_of_one % 2 == 1]
    general = world.famous + world.world
    files = {
        "full": world.files["full"],
        "forget": world.forget,
        "forget_perturbed": world.forget,
        "neighbor": trained,
        "neighbor_perturbed": measured,
        "general_perturbed": general,
    }
    write_files(folder, files)
    return folder


def small_suite() -> "Suite":
    """The six metrics on people to forget and neighbours, and general knowledge as choices and short answers."""
    from dataclasses import replace

    from expunge.evaluation.suites import SUITES

    closer_look = SUITES["closer_look"]
    sets = {spec.name: spec for spec in closer_look.sets}
    return replace(
        closer_look,
        name="real-people-small",
        summary="invented people to forget, their neighbours, and general knowledge",
        sets=(
            replace(sets["forget"], configuration="forget_perturbed"),
            replace(sets["retain"], name="neighbor", configuration="neighbor_perturbed", label="Neighbours"),
            replace(sets["world_facts"], name="general", configuration="general_perturbed", label="General knowledge"),
        ),
    )


NOT_MEASURED = (
    "Forget efficacy is measured in part: over probability, ROUGE-L and truth ratio. Sentence similarity and "
    "entailment need models that judge."
)
FULL_DIFFERS = (
    "Without --embedding-model and --nli-model, forget efficacy is measured in part, without sentence similarity and "
    "entailment.",
    "General tasks are not measured here: `expunge eval` has them as suites (mmlu, gsm8k, ...).",
    "One seed; the learning rate of the paper's ME+GD, 5e-6, for every method.",
)
PEOPLE_SCENARIO = Scenario(
    name="real-people",
    summary="some people are to be forgotten: what becomes of their neighbours, and of general knowledge?",
    paper="2410.08109",
    differs=(
        "Invented people and a model of a million parameters that learned them by heart, not people whom a large model "
        "met in its pretraining. Neighbours are other people of the same world.",
        "General tasks are 45 questions of common knowledge of that world, not MMLU, ARC, GSM8K and the like.",
        "What the model is made to forget are the world's answers, not the model's own.",
        "Every method has the same learning rate and number of passes, untuned.",
        NOT_MEASURED,
        "One seed.",
    ),
    labels=LABELS,
    drawn=("forget_efficacy", "forget_efficacy_partial", "neighbor/rougeL_recall", "general/rougeL_recall"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model MODEL --data PEOPLE [--retain SPEC] [--embedding-model MODEL] [--nli-model MODEL]",
)
