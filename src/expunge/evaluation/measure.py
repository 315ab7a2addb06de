"""From a plan to measured examples: the passes over the model, then everything each row's metrics look at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Encoded, Row, end_of_turn
from expunge.evaluation import processes
from expunge.evaluation.generator import generate, stop_tokens
from expunge.evaluation.gradients import gradient_norms
from expunge.evaluation.judging import Judges, judged
from expunge.evaluation.parts import Parts
from expunge.evaluation.planner import Plan, RowPlan
from expunge.evaluation.scorer import TokenScores, score
from expunge.evaluation.sets import answer_of, is_passage
from expunge.evaluation.shared import group_by_prompt
from expunge.evaluation.suite import SetSpec, Suite
from expunge.metrics import Completion, Example
from expunge.metrics.bleu import leak_threshold

# (stage, done, of) after each batch
Progress = Callable[[str, int, int], None]


@dataclass
class Measured:
    """What the passes over the model gave so far, by position in the plan."""

    scores: dict[int, TokenScores] = field(default_factory=dict)
    answers: dict[int, list[int]] = field(default_factory=dict)
    gradients: dict[int, float | None] = field(default_factory=dict)


def run_plan(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    batch_tokens: int | None = None,
    progress: Progress = lambda stage, done, of: None,
    parts: Parts | None = None,
    generating: bool = True,
) -> Measured:
    """Run the distinct rows and the distinct prompts through the model, once each.

    Where several processes were launched together, each runs its share and all return the whole.

    Args:
        model: is in evaluation mode meanwhile.
        tokenizer: its own.
        plan: the work.
        batch_tokens: the most tokens of a scoring batch.
        progress: told after each batch.
        parts: where each batch is stored, and where earlier calls left theirs.
        generating: whether prompts are answered too.
    """
    measured = Measured(*parts.read()) if parts else Measured()
    processes.wait()  # all have read the same parts before one adds to them
    training = model.training
    model.eval()
    try:
        progress("scoring", len(measured.scores), len(plan.scored))
        groups, alone = group_by_prompt(plan.scored, [i for i in range(len(plan.scored)) if i not in measured.scores])
        groups += [[i] for i in alone]
        unscored = processes.share(groups, [sum(len(plan.scored[i].ids) for i in group) for group in groups])
        for batch in score(model, plan.scored, unscored, plan.moments, batch_tokens):
            measured.scores.update(batch)
            if parts:
                parts.add_scores(batch)
            progress("scoring", len(measured.scores), len(plan.scored))
        without = [i for i in plan.gradients if i not in measured.gradients]
        mine = processes.share([[i] for i in without], [len(plan.scored[i].ids) for i in without])
        for i, norm in gradient_norms(model, plan.scored, mine):
            measured.gradients[i] = norm
            if parts:
                parts.add_norm(i, norm)
            progress("gradients", len(measured.gradients), len(plan.gradients))
        wanted = range(len(plan.prompts)) if generating else ()
        progress("generating", len(measured.answers), len(wanted))
        unanswered = [i for i in wanted if i not in measured.answers]
        mine = processes.share([[i] for i in unanswered], [len(plan.prompts[i].ids) for i in unanswered])
        for answers in generate(model, plan.prompts, mine, stop_tokens(model, tokenizer)):
            measured.answers.update(answers)
            if parts:
                parts.add_answers(answers)
            progress("generating", len(measured.answers), len(plan.prompts))
    finally:
        model.train(training)
        if parts:
            parts.close()
    return Measured(*(processes.merge(found) for found in (measured.scores, measured.answers, measured.gradients)))


def examples(
    suite: Suite,
    sets: Mapping[str, Sequence[Row]],
    plan: Plan,
    measured: Measured,
    tokenizer: PreTrainedTokenizerBase,
    judges: Judges,
    original: pa.Table | None = None,
) -> dict[str, list[Example]]:
    """Put together what each row's metrics look at.

    Args:
        suite: its sets.
        sets: rows per set name.
        plan: where each row's values are.
        measured: those values.
        tokenizer: of the model.
        judges: the models that judge outputs.
        original: examples of the model before unlearning, which outputs are compared with.
    """
    end = end_of_turn(tokenizer)
    texts = {i: tokenizer.decode(ids, skip_special_tokens=True) for i, ids in measured.answers.items()}

    threshold = corpus_threshold(suite, sets, tokenizer)

    def completion(position: int) -> Completion:
        return _completion(plan.scored[position], measured.scores[position], end)

    def example(spec: SetSpec, row: Row, where: RowPlan) -> Example:
        output = None if where.generation is None else cut(texts[where.generation], spec.stop_at)
        fact = row.columns.get("fact")
        return Example(
            kind=spec.kind,
            choices=spec.choices,
            answer=None if where.answer is None else completion(where.answer),
            answer_text=_text(tokenizer, plan.scored[where.answer]) if where.answer in plan.moments else None,
            gradient_norm=measured.gradients.get(where.answer),
            paraphrase=None if where.paraphrase is None else completion(where.paraphrase),
            wrong=tuple(completion(i) for i in where.wrong),
            generation=output,
            generation_tokens=() if output is None else tuple(tokenizer.tokenize(output)),
            reference=_reference(tokenizer, answer_of(row, spec), spec.reference_tokens),
            passage=is_passage(row, spec),
            leak_threshold=threshold if is_passage(row, spec) else None,
            fact=fact if isinstance(fact, str) and fact.strip() else None,
        )

    found = {
        spec.name: [example(spec, row, where) for row, where in zip(sets[spec.name], plan.rows[spec.name], strict=True)]
        for spec in suite.sets
        if spec.name in sets
    }
    return judged(suite, sets, found, judges, original)


def corpus_threshold(
    suite: Suite, sets: Mapping[str, Sequence[Row]], tokenizer: PreTrainedTokenizerBase
) -> float | None:
    """The BLEU above which a continuation is a leak, from the passages of the forget set; None without two of them."""
    spec = next((s for s in suite.sets if s.kind == "forget" and s.continued is not None and s.name in sets), None)
    if spec is None:
        return None
    passages = [answer_of(row, spec) for row in sets[spec.name] if is_passage(row, spec)]
    return leak_threshold(tuple(_reference(tokenizer, text, spec.reference_tokens) for text in passages))


def cut(text: str, stop_at: Sequence[str]) -> str:
    """The text up to the first of the texts it must stop at."""
    return text[: min([text.find(stop) for stop in stop_at if stop in text], default=len(text))]


def _reference(tokenizer: PreTrainedTokenizerBase, answer: str, tokens: int | None) -> str:
    if tokens is None:
        return answer
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return answer if len(ids) <= tokens else tokenizer.decode(ids[:tokens])


def _text(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> str:
    return tokenizer.decode(row.ids[row.start :], skip_special_tokens=True)


def _completion(row: Encoded, scores: TokenScores, end: int) -> Completion:
    return Completion(
        logprobs=scores.logprobs,
        greedy=scores.greedy,
        mean=scores.mean,
        std=scores.std,
        ends=row.completion_tokens > 0 and row.ids[-1] == end,
    )
