"""What the three scenarios of LLMU (arXiv 2310.10683) share: the methods, how they are measured, and what they cost.

Every method starts from the same target and makes as many steps, of as many rows. The normal rows that it unlearns with
(`retain`) are answered by somebody else than the target, as TruthfulQA is in the paper; the normal prompts that it is
measured on (`normal`) it never meets.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from expunge.files import whole_folder, write_jsonl
from expunge.runs import TRAIN_LOG
from expunge.scenarios.base import Say, Scenario, TableRow, learn_tiny

if TYPE_CHECKING:
    from expunge.evaluation import JudgeModels, Results, Suite

ORIGINAL, FINETUNING, LLMU = "Original", "Fine-tuning", "GA + mismatch + KL (LLMU)"
OWN_WORDS = "GA + mismatch + GD, own words"
METHODS: dict[str, dict[str, Any]] = {
    ORIGINAL: {},
    FINETUNING: {},
    "GA": {"name": "GA"},
    "GA + mismatch": {"name": "GA+MISMATCH", "GA.weight": 0.5},
    LLMU: {"name": "LLMU"},
    "GA + mismatch + GD": {"name": "GA+MISMATCH+GD", "GA.weight": 0.5},
    OWN_WORDS: {"name": "GA+MISMATCH+GD", "GA.weight": 0.5},
}
"""The objective of each; the weights are LLMU's. GD is plain cross-entropy on the normal rows, in KL's place: on those
of `retain`, and on the same in the target's own words, where they are known."""
COST = {
    "cost/flops": "FLOPs of the run",
    "cost/of_finetuning": "… as a multiple of fine-tuning's",
    "cost/of_learning": "… as a multiple of what the target's learning took",
}
SMALL_TRAINING: dict[str, Any] = {
    "learning_rate": 2e-4,
    "num_train_epochs": 5,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "save_strategy": "no",
    "stop_at_chance": False,  # as in the paper: a fixed number of steps
    "use_cpu": True,
}
"""A model of a million parameters needs a far larger rate than one of a billion. The same for every method."""
FULL_DIFFERS = (
    "GA and GA + mismatch have no term on normal rows here: what that term does is then seen by itself.",
    "Loss terms are means over the tokens of a step, in the paper over rows.",
    "FLOPs are 6 (where the objective compares with the target 8) times parameters times training tokens of the run's "
    "log; that of the target's stored values is counted once per training token, which is an upper bound.",
    "At most 200 rows of each set are measured, drawn by the seed; one learning rate for all methods.",
    "Judges are yours to name.",
)
SMALL_DIFFERS = (
    "An invented world, and a model of a million parameters that has learned it, in place of models of one to seven "
    "billion parameters and their data.",
    "Learning rate 2e-4 and five passes over the forget rows, two of them a step, as such a model needs; in the paper "
    "2e-6 and 1,000 steps of two rows.",
    "The normal rows to unlearn with are answered rightly, in other words than the target's, as TruthfulQA's are.",
    *FULL_DIFFERS[:3],
)


@dataclass(frozen=True)
class Experiment:
    """One target, the rows, and how to measure.

    Attributes:
        target: the model that all methods start from.
        forget: SPEC of the rows to forget.
        retain: SPEC of the normal rows to unlearn with.
        own: SPEC of the same rows in the target's own words, where they are known.
        measured: SPEC of each set of the suite.
        suite: measures them.
        train: options of every method's training.
        checks: rates from a checker that reads a question, the answer and the row's columns, by `<set>/<metric>`.
        judges: models that judge outputs.
    """

    target: str
    forget: str
    retain: str
    measured: Mapping[str, str]
    suite: "Suite"
    train: Mapping[str, Any]
    own: str | None = None
    checks: Mapping[str, Callable[[str, str, Mapping[str, Any]], bool]] = field(default_factory=dict)
    judges: "JudgeModels | None" = None


def run(scenario: Scenario, experiment: Experiment, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """Every method from the same target, measured; what is there already is not done again."""
    rows: list[TableRow] = []
    taught, tuned = _finetuning_cost(Path(experiment.target))[0], 0.0
    for method, objective in METHODS.items():
        if method == OWN_WORDS and experiment.own is None:
            continue
        place = out / "runs" / re.sub(r"\W+", "-", method).strip("-").lower()
        model = experiment.target if method == ORIGINAL else str(place)
        if method == FINETUNING:
            _finetune(experiment, place, seed, quiet)
        elif method != ORIGINAL:
            retain = experiment.own if method == OWN_WORDS and experiment.own else experiment.retain
            _unlearn(experiment, retain, objective, place, seed, quiet)
        results = _measure(experiment, model, out / "results" / f"{place.name}.json", quiet)
        found = [*_measured(scenario, experiment, results, method, seed)]
        if method != ORIGINAL:
            flops, tokens = _cost(place, results)
            tuned = flops if method == FINETUNING else tuned
            costs = {"flops": flops, "of_finetuning": flops / tuned} | (
                {"of_learning": flops / taught} if taught else {}
            )
            found += [TableRow(method, f"cost/{name}", cost, None, tokens, seed) for name, cost in costs.items()]
        say(f"{method}: " + ", ".join(f"{row.metric} {row.value:.3g}" for row in found))
        rows += found
    return rows


def learn(
    out: Path,
    world: Mapping[str, Sequence[dict[str, Any]]],
    seed: int,
    say: Say,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Mapping[str, str]:
    """Write the sets of a small world, and make the target from what is `learned`.

    Args:
        out: Where `world/` and `target/` are made, if they are not there.
        world: Rows by set.
        seed: Of the model and its training.
        say: Is told about it.
        options: Of the training, beside those for tiny models.

    Returns:
        The SPEC of each set.
    """
    with whole_folder(out / "world") as part:
        for name, rows in world.items():
            write_jsonl(part / f"{name}.jsonl", rows)
    if not (out / "target").is_dir():
        say("The target model is learning (about half a minute)")
        learn_tiny(f"{out / 'world'}:learned", out / "target", seed, options)
    return {name: f"{out / 'world'}:{name}" for name in world}


def answers_suite(longest: int = 40) -> "Suite":
    """What is measured of answers whoever judges them; on normal prompts, against the target's answers.

    Args:
        longest: answer, in tokens.
    """
    from expunge.evaluation import SetSpec, Suite
    from expunge.metrics.diversity import DIVERSITY
    from expunge.metrics.facts import FACT_ACCURACY
    from expunge.metrics.rouge import ROUGE_L_RECALL

    measured = (FACT_ACCURACY.name, DIVERSITY.name)
    return Suite(
        name="answers",
        source="2310.10683",
        summary="facts and the target's own words",
        sets=(
            SetSpec("forget", "forget", "forget", metrics=measured),
            SetSpec("unseen", "unseen", "forget", metrics=measured),
            SetSpec("normal", "normal", "retain", answer="learned"),
        ),
        metrics=(FACT_ACCURACY, ROUGE_L_RECALL, DIVERSITY),
        max_tokens=longest,
        limit_counts_prompt=False,
    )


def _unlearn(
    experiment: Experiment, retain: str, objective: dict[str, Any], place: Path, seed: int, quiet: bool
) -> None:
    from expunge.training import Recipe, unlearn

    if place.is_dir():
        return
    recipe = Recipe(
        model=experiment.target,
        forget=experiment.forget,
        retain=retain,
        objective=objective,
        train={**experiment.train, "seed": seed},
    )
    unlearn(recipe, place, resume=True, quiet=quiet)


def _finetune(experiment: Experiment, place: Path, seed: int, quiet: bool) -> None:
    """As many steps on the normal rows as the other methods make."""
    from expunge.data import load_rows
    from expunge.models import load_model
    from expunge.training import finetune
    from expunge.training.run import training_arguments

    if place.is_dir():
        return
    args = training_arguments(place, {**experiment.train, "seed": seed})
    forget = len(load_rows(experiment.forget))
    steps = args.max_steps if args.max_steps > 0 else int(args.num_train_epochs) * args.steps_per_epoch(forget)
    model, words = load_model(experiment.target, device=args.device)
    options = {**experiment.train, "seed": seed, "max_steps": steps, "save_strategy": "no"}
    finetune(model, words, load_rows(experiment.retain), place, options, quiet=quiet)


def _measure(experiment: Experiment, model: str, out: Path, quiet: bool) -> "Results":
    from expunge.evaluation import Execution, JudgeModels, Questions, evaluate

    device = "cpu" if experiment.train.get("use_cpu") else None
    return evaluate(
        model,
        Questions(experiment.suite, data=experiment.measured),
        judges=experiment.judges or JudgeModels(),
        execution=Execution(device=device, progress=not quiet),
        out=out,
    )


def _measured(
    scenario: Scenario, experiment: Experiment, results: "Results", method: str, seed: int
) -> Iterator[TableRow]:
    """The scenario's metrics: from a checker where it has one, else as the suite measured them, if it could."""
    from expunge.data import load_rows
    from expunge.metrics.bootstrap import wilson

    for metric in scenario.labels:
        if check := experiment.checks.get(metric):
            name = metric.partition("/")[0]
            rows = load_rows(experiment.measured[name])
            said = [line["generation"] for line in results.examples.to_pylist() if line["set"] == name]
            found = [check(row.prompt, answer, row.columns) for row, answer in zip(rows, said, strict=True)]
            rate = sum(found) / len(found)
            yield TableRow(method, metric, rate, wilson(rate, len(found)), len(found), seed)
        elif (one := results.metrics.get(metric)) and one.value is not None:
            yield TableRow(method, metric, one.value, one.ci95 and (one.ci95[0], one.ci95[1]), one.n, seed)


def _cost(place: Path, results: "Results") -> tuple[float, int]:
    """FLOPs and training tokens of a run, or of fine-tuning, from its log."""
    if (flops := results.summary.values.get("flops")) is not None:
        return flops, int(results.summary.values["flops_tokens"] or 0)
    return _finetuning_cost(place)


def _finetuning_cost(place: Path) -> tuple[float, int]:
    """FLOPs and training tokens of a model that `expunge finetune` made; none of another."""
    from expunge.evaluation.results.cost import stored_parameters, training_flops

    if not (place / TRAIN_LOG).is_file():
        return 0.0, 0
    tokens = json.loads((place / TRAIN_LOG).read_text(encoding="utf-8").splitlines()[-1])["tokens"]
    parameters = stored_parameters(place)
    return training_flops(tokens, parameters, parameters, reference=False), tokens
