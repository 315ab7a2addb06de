"""What an evaluation would do, without doing it: `expunge eval --plan`."""

from pathlib import Path

from transformers import AutoTokenizer

from expunge.errors import InputError
from expunge.evaluation.passes.plan import Plan, plan
from expunge.evaluation.passes.score import BATCH_TOKENS, batches
from expunge.evaluation.request import Questions
from expunge.evaluation.suites import find_suite
from expunge.evaluation.suites.sets import load_sets
from expunge.models import resolve_folder
from expunge.models.batching import by_prompt


def describe(work: Plan, batch_tokens: int) -> dict[str, int | float]:
    """The work in numbers, against metric-by-metric evaluation of the same."""
    scored = range(len(work.scored))
    groups = by_prompt([row.ids[: row.start] for row in work.scored])
    again = sum(work.scored[group[0]].start * (len(group) - 1) for group in groups)
    passes = len(list(batches(work.scored, scored, batch_tokens, packed=True)))
    return {
        "rows_asked_for": work.asked,
        "rows_scored": len(work.scored),
        "tokens_asked_for": work.asked_tokens,
        "tokens_scored": work.scored_tokens,
        "tokens_of_prompts_shared": again,
        "batches": passes,
        "gradients_of_rows": len(work.gradients),
        "answers_asked_for": work.asked_generations,
        "answers_generated": len(work.prompts),
        "share_of_tokens_saved": 1 - (work.scored_tokens - again) / work.asked_tokens if work.asked_tokens else 0.0,
        "share_of_answers_saved": 1 - len(work.prompts) / work.asked_generations if work.asked_generations else 0.0,
    }


def plan_evaluation(model: str | Path, questions: Questions, batch_tokens: int | None = None) -> dict[str, int | float]:
    """Describe an evaluation from the model's tokenizer and the data alone; the model is not loaded.

    Raises:
        InputError: as `evaluate`.
    """
    suite = find_suite(questions.suite)
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolve_folder(model))
    except (OSError, ValueError) as error:
        raise InputError(f"{model}: its tokenizer cannot be loaded. {str(error).splitlines()[0]}") from error
    sets = load_sets(questions, suite).sets
    return describe(plan(suite, sets, tokenizer, style=questions.style_for(model)), batch_tokens or BATCH_TOKENS["cpu"])
