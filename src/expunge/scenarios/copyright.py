"""Copyrighted text (LLMU, arXiv 2310.10683): is a book still recited, passages never unlearned too?

Small: an invented book, memorised word for word. A passage's first 200 characters are the prompt; it leaks where the
BLEU of the continuation is above a tenth of what unrelated passages of the book have with each other.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.scenarios.base import Say, Scenario, Sources, TableRow
from expunge.scenarios.llmu import COST, FULL_DIFFERS, SMALL_DIFFERS, SMALL_TRAINING, Experiment, learn, run

if TYPE_CHECKING:
    from expunge.evaluation import Suite
    from expunge.metrics import Example

PROMPT_CHARACTERS, LONGEST = 200, 30  # tokens of a continuation: no protected passage has fewer left
BY_HEART = {"per_device_train_batch_size": 8}
"""Of the target's training: there are fewer rows than in the other scenarios, and more to learn in each."""


def small(out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The invented book."""
    from expunge.worlds.passages import book_world

    sets = learn(out, book_world(seed), seed, say, BY_HEART)
    experiment = Experiment(
        target=str(out / "target"),
        forget=sets["forget"],
        retain=sets["retain"],
        measured={name: sets[name] for name in ("forget", "unseen", "normal")},
        suite=recitation(),
        train={**SMALL_TRAINING, "num_train_epochs": 10, "text_prompt": PROMPT_CHARACTERS},
    )
    return run(COPYRIGHT, experiment, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """A book that the target has memorised, as a text file, and normal rows or another book."""
    from expunge.evaluation import JudgeModels
    from expunge.scenarios.published import LONGEST_ANSWER, experiment, passages

    suite, options = recitation(LONGEST_ANSWER), {"text_prompt": PROMPT_CHARACTERS}
    made = experiment(COPYRIGHT, given, out, seed, passages, suite, JudgeModels(), options)
    return run(COPYRIGHT, made, out, seed, quiet, say)


def recitation(longest: int = LONGEST) -> "Suite":
    """What is measured of passages: the paper's leaks, and how many are recited; on normal prompts the target's words.

    The paper's threshold is a tenth of what unrelated passages have with each other. A few words in common are above
    it, so that it is also counted which continuations are closer to their passage than unrelated ones are.

    Args:
        longest: continuation, in tokens; compared with as many of the passage.
    """
    from expunge.evaluation import SetSpec, Suite
    from expunge.metrics.base import Metric
    from expunge.metrics.bleu import BLEU, LEAK_RATE, THRESHOLD_SHARE, of_passage
    from expunge.metrics.diversity import DIVERSITY
    from expunge.metrics.facts import FACT_ACCURACY
    from expunge.metrics.rouge import ROUGE_L_RECALL

    def recited(example: "Example") -> float | None:
        value = of_passage(example)
        if value is None or example.leak_threshold is None:
            return None
        return float(value > example.leak_threshold / THRESHOLD_SHARE)

    closer = Metric(
        name="recited",
        per_example=recited,
        definition="share of passages whose continuation has a BLEU above the mean between random passages",
        source="expunge",
        needs=LEAK_RATE.needs,
        kinds=("forget",),
        share=True,
        yes_no=True,
    )
    continued: dict[str, Any] = {"continued": PROMPT_CHARACTERS, "reference_tokens": longest}
    about = (LEAK_RATE, closer, BLEU, DIVERSITY)
    names = tuple(metric.name for metric in about)
    return Suite(
        name="recited",
        source="2310.10683",
        summary="passages that are continued, and the target's own words",
        sets=(
            SetSpec("forget", "forget", "forget", metrics=names, **continued),
            SetSpec("unseen", "unseen", "forget", metrics=names, **continued),
            SetSpec("normal", "normal", "retain", answer="learned", **continued),
        ),
        metrics=(*about, FACT_ACCURACY, ROUGE_L_RECALL),
        max_tokens=longest,
        limit_counts_prompt=False,
    )


COPYRIGHT = Scenario(
    name="copyright",
    summary="a memorised book: is it gone, passages that were never unlearned too, and is the rest as it was?",
    paper="2310.10683",
    differs=(
        *SMALL_DIFFERS,
        "Beside the paper's leaks, above a tenth of the BLEU between unrelated passages, those above that BLEU itself "
        "are counted.",
        "A continuation is 30 tokens long, 200 in the paper: the passages are short. Ten passes over them, not five.",
    ),
    labels={
        "forget/leak_rate": "Leaks, unlearned passages",
        "unseen/leak_rate": "Leaks, unseen passages",
        "forget/recited": "Recited, unlearned passages",
        "unseen/recited": "Recited, unseen passages",
        "forget/bleu": "BLEU, unlearned passages",
        "unseen/bleu": "BLEU, unseen passages",
        "normal/fact_accuracy": "Right answers, normal questions",
        "normal/rougeL_recall": "ROUGE-L with the target's answers, normal prompts",
        "forget/diversity": "Unique tokens, unlearned passages",
        "unseen/diversity": "Unique tokens, unseen passages",
        **COST,
    },
    drawn=("forget/recited", "unseen/recited", "normal/rougeL_recall", "cost/of_finetuning"),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model M --forget BOOK.txt --retain TRUTHFULQA",
)
