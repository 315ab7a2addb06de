"""Fictitious authors (arXiv 2410.08109): the same request at three sizes, untargeted and targeted objectives.

Small: an invented world of 20 people, of whom one, two and three are to be forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.scenarios.base import Say, Scenario, Sources, TableRow, learn_tiny
from expunge.scenarios.compare import Request, compare, published
from expunge.worlds.new import TINY_UNLEARNING

if TYPE_CHECKING:
    from expunge.evaluation import JudgeModels

METHODS = ("GA", "GA+GD", "GA+KL", "NPO+GD", "NPO+KL", "ME+GD", "DPO+GD", "DPO+KL", "IDK+GD", "IDK+AP")
"""Six that suppress the answers, four that train a refusal."""
PEOPLE, CUTS = 20, (5, 10, 15)
EPOCHS = 30
SETTINGS: dict[str, Any] = {
    **TINY_UNLEARNING,
    "stop_at_chance": False,  # as in the paper
    "use_cpu": True,
}
"""The same for every method and cut, untuned. A small model needs a far larger rate."""
OPTIONS = {"ME+GD": {"forget_weight": 0.1}}
"""Of the paper, for the full form; all other weights are 1."""
LABELS = {
    "model_utility": "Model utility",
    "model_utility_partial": "Model utility, over what was measured",
    "forget_efficacy": "Forget efficacy",
    "forget_efficacy_partial": "Forget efficacy, over what was measured",
    "forget/fact_accuracy": "Forgotten facts that are still said",
    "forget/rougeL_recall": "ROUGE-L recall of forgotten answers",
    "forget/probability": "Probability of forgotten answers",
    "forget/truth_ratio": "Truth ratio of forgotten answers",
    "forget/cosine_similarity": "Cosine similarity to forgotten answers",
    "forget/entailment": "Entailment of forgotten answers",
    "retain/rougeL_recall": "ROUGE-L recall of answers that must stay",
    "retain/fact_accuracy": "Facts that must stay",
}


def small(
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
    cuts: Sequence[int] = CUTS,
    methods: Sequence[str] = METHODS,
) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was.

    Args:
        out: where world and models are written.
        seed: of world, model and training.
        quiet: no progress bars.
        say: is told about each step.
        cuts: percent of people who are to be forgotten.
        methods: objectives.
    """
    from expunge.worlds.corpus import write_cuts

    places = write_cuts(out / "world", PEOPLE, cuts, seed)
    if not (out / "target").is_dir():
        say("The target model is learning (about a minute)")
        learn_tiny(f"{places[cuts[0]]}:full", out / "target", seed, {"num_train_epochs": EPOCHS})
    folders = {f"forget{cut:02d}": str(places[cut]) for cut in cuts}
    return _run(str(out / "target"), folders, methods, lambda count: SETTINGS, {}, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The paper's setting on a target model that knows TOFU: every method at every forget split of the data.

    Raises:
        InputError: no data is given, or it has none of the forget splits.
    """
    from expunge.data import configurations
    from expunge.errors import InputError

    if given.data is None:
        raise InputError(f"Scenario {FICTITIOUS.name} needs {FICTITIOUS.takes}.")
    known = configurations(given.data)
    splits = [name for name in ("forget01", "forget05", "forget10") if f"{name}_perturbed" in known]
    if not splits:
        raise InputError(f"{given.data} has none of TOFU's forget01, forget05 and forget10 with their *_perturbed.")
    folders = dict.fromkeys(splits, given.data)
    train = partial(published, rate=1e-5, longest=500)
    return _run(given.model, folders, METHODS, train, OPTIONS, out, seed, quiet, say, given.judges)


def _run(
    target: str,
    folders: dict[str, str],
    methods: Sequence[str],
    train: Callable[[int], Mapping[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
    judges: "JudgeModels | None" = None,
) -> list[TableRow]:
    from expunge.data import load_rows
    from expunge.evaluation import Questions

    rows: list[TableRow] = []
    for split, data in folders.items():
        percent = int(split.removeprefix("forget"))
        request = Request(
            target,
            f"{data}:{split}",
            f"{data}:retain{100 - percent:02d}",
            Questions("closer_look", data, split),
            tuple(LABELS),
            train(len(load_rows(f"{data}:{split}"))),
            f"{percent} %: ",
            options,
            judges=judges,
        )
        rows += compare(request, methods, out / "runs" / split, seed, quiet, say)
    return rows


NOT_MEASURED = (
    "Model utility and forget efficacy are measured in part: over probability, ROUGE-L and truth ratio (utility also "
    "over token entropy). Sentence similarity and entailment, the paper's other two, need models that judge: "
    "`expunge eval --suite closer_look --embedding-model ... --nli-model ...` measures them on each run."
)
FULL_DIFFERS = (
    "Without --embedding-model and --nli-model, model utility and forget efficacy are measured in part, without "
    "sentence similarity and entailment.",
    "One seed.",
)
FICTITIOUS = Scenario(
    name="fictitious-authors",
    summary="one, two or three people of twenty are to be forgotten: who suppresses, who refuses, and what is kept?",
    paper="2410.08109",
    differs=(
        "An invented world of 20 people and a model of a million parameters, not TOFU's 200 authors and a model of "
        "seven billion; 5, 10 and 15 % of the people are forgotten, not 1, 5 and 10 %: one person is the least.",
        "Every method has the same learning rate and number of passes, untuned: the table compares methods at one "
        "setting, not at the best setting of each.",
        NOT_MEASURED,
        "One seed.",
    ),
    labels=LABELS,
    drawn=("model_utility", "model_utility_partial", "forget_efficacy", "forget_efficacy_partial"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model MODEL --data TOFU [--embedding-model MODEL] [--nli-model MODEL]",
)
