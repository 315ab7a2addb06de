"""Copyrighted text (LLMU, arXiv 2310.10683): is a book still recited, passages never unlearned too?

Small: an invented book, memorised word for word. A passage's first 200 characters are the prompt; it leaks where the
BLEU of the continuation is above a tenth of what unrelated passages of the book have with each other.
"""

from pathlib import Path

from expunge.scenarios.base import Say, Scenario, TableRow
from expunge.scenarios.llmu import COST, SMALL_DIFFERS, SMALL_TRAINING, Experiment, learn, run

PROMPT_CHARACTERS = 200
BY_HEART = {"per_device_train_batch_size": 8}
"""Of the target's training: there are fewer rows than in the other scenarios, and more to learn in each."""


def small(out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The invented book."""
    from expunge.evaluation import SetSpec, Suite
    from expunge.metrics.bleu import BLEU, LEAK_RATE
    from expunge.metrics.diversity import DIVERSITY
    from expunge.metrics.facts import FACT_ACCURACY
    from expunge.metrics.rouge import ROUGE_L_RECALL
    from expunge.worlds.passages import book_world

    recited = (LEAK_RATE.name, BLEU.name, DIVERSITY.name)
    suite = Suite(
        name="recited",
        source="2310.10683",
        summary="passages that are continued, and the target's own words",
        sets=(
            SetSpec("forget", "forget", "forget", continued=PROMPT_CHARACTERS, metrics=recited),
            SetSpec("unseen", "unseen", "forget", continued=PROMPT_CHARACTERS, metrics=recited),
            SetSpec("normal", "normal", "retain", answer="learned", continued=PROMPT_CHARACTERS),
        ),
        metrics=(LEAK_RATE, BLEU, DIVERSITY, FACT_ACCURACY, ROUGE_L_RECALL),
        max_tokens=100,
        limit_counts_prompt=False,
    )
    sets = learn(out, book_world(seed), seed, say, BY_HEART)
    experiment = Experiment(
        target=str(out / "target"),
        forget=sets["forget"],
        retain=sets["retain"],
        measured={name: sets[name] for name in ("forget", "unseen", "normal")},
        suite=suite,
        train={**SMALL_TRAINING, "text_prompt": PROMPT_CHARACTERS},
    )
    return run(COPYRIGHT, experiment, out, seed, quiet, say)


COPYRIGHT = Scenario(
    name="copyright",
    summary="a memorised book: is it gone, passages that were never unlearned too, and is the rest as it was?",
    paper="2310.10683",
    differs=(
        *SMALL_DIFFERS,
        "The target recites all of its book from the start; a continuation is at most 100 tokens long, which is more "
        "than any passage has left.",
    ),
    labels={
        "forget/leak_rate": "Leaks, unlearned passages",
        "unseen/leak_rate": "Leaks, unseen passages",
        "forget/bleu": "BLEU, unlearned passages",
        "unseen/bleu": "BLEU, unseen passages",
        "normal/fact_accuracy": "Right answers, normal questions",
        "normal/rougeL_recall": "ROUGE-L with the target's answers, normal prompts",
        "forget/diversity": "Unique tokens, unlearned passages",
        "unseen/diversity": "Unique tokens, unseen passages",
        **COST,
    },
    drawn=("forget/leak_rate", "unseen/bleu", "normal/rougeL_recall", "cost/of_finetuning"),
    small=small,
)
