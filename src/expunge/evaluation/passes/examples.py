"""From measured values to examples: everything that a row's metrics look at, put together."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from expunge.data import Encoded, PromptStyle, Row, end_of_turn
from expunge.evaluation.passes.plan import Plan, RowPlan, ends
from expunge.evaluation.passes.run import Measured
from expunge.evaluation.passes.score import TokenScores
from expunge.evaluation.suites.columns import is_passage, reference_of
from expunge.evaluation.suites.suite import SetSpec, Suite
from expunge.metrics import Completion, Example
from expunge.metrics.bleu import leak_threshold


def examples(
    suite: Suite,
    sets: Mapping[str, Sequence[Row]],
    plan: Plan,
    measured: Measured,
    tokenizer: PreTrainedTokenizerBase,
    style: PromptStyle = PromptStyle(),
) -> dict[str, list[Example]]:
    """Put together what each row's metrics look at; what judges say is not there yet.

    Args:
        suite: its sets.
        sets: rows per set name.
        plan: where each row's values are.
        measured: those values.
        tokenizer: of the model.
        style: how conversations are written.
    """
    texts = {i: _text(tokenizer, ids) for i, ids in measured.answers.items()}
    end = end_of_turn(tokenizer, style)
    threshold = corpus_threshold(suite, sets, tokenizer)

    def completion(position: int) -> Completion:
        return _completion(plan.scored[position], measured.scores[position], end)

    def example(spec: SetSpec, row: Row, where: RowPlan) -> Example:
        output = None if where.generation is None else cut(texts[where.generation], spec.stop_at)
        fact = row.columns.get("fact")
        answer = None if where.answer is None else plan.scored[where.answer]
        compressed = any("answer_text" in metric.needs for metric in suite.metrics_of(spec))
        return Example(
            kind=spec.kind,
            choices=spec.choices,
            answer=None if where.answer is None else completion(where.answer),
            answer_text=_text(tokenizer, answer.ids[answer.start :]) if answer is not None and compressed else None,
            gradient_norm=None if where.answer is None else measured.gradients.get(where.answer),
            paraphrase=None if where.paraphrase is None else completion(where.paraphrase),
            wrong=tuple(completion(i) for i in where.wrong),
            generation=output,
            generation_tokens=() if output is None else tuple(tokenizer.tokenize(output)),
            reference=reference_text(tokenizer, reference_of(row, spec), spec.reference_tokens),
            passage=is_passage(row, spec),
            leak_threshold=threshold if is_passage(row, spec) else None,
            fact=fact if isinstance(fact, str) and fact.strip() else None,
        )

    return {
        spec.name: [example(spec, row, where) for row, where in zip(sets[spec.name], plan.rows[spec.name], strict=True)]
        for spec in suite.sets
        if spec.name in sets
    }


def corpus_threshold(
    suite: Suite, sets: Mapping[str, Sequence[Row]], tokenizer: PreTrainedTokenizerBase
) -> float | None:
    """The BLEU above which a continuation is a leak, from the passages of the forget set; None without two of them."""
    spec = next((s for s in suite.sets if s.kind == "forget" and s.continued is not None and s.name in sets), None)
    if spec is None:
        return None
    passages = [reference_of(row, spec) for row in sets[spec.name] if is_passage(row, spec)]
    return leak_threshold(tuple(reference_text(tokenizer, text, spec.reference_tokens) for text in passages))


def cut(text: str, stop_at: Sequence[str]) -> str:
    """The text up to the first of the texts it must stop at."""
    return text[: min([text.find(stop) for stop in stop_at if stop in text], default=len(text))]


def reference_text(tokenizer: PreTrainedTokenizerBase, answer: str, tokens: int | None) -> str:
    """The text that outputs are compared with: the answer, or its first `tokens` tokens."""
    if tokens is None:
        return answer
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return answer if len(ids) <= tokens else str(tokenizer.decode(ids[:tokens]))


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _completion(row: Encoded, scores: TokenScores, end: int) -> Completion:
    return Completion(
        logprobs=scores.logprobs,
        greedy=scores.greedy,
        mean=scores.mean,
        std=scores.std,
        ends=ends(row, end),
    )
