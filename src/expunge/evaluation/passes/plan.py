"""What must be measured, once each: the distinct (prompt, completion) pairs and the distinct prompts of all sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

from transformers import PreTrainedTokenizerBase

from expunge.data import Encoded, PromptStyle, Row, encode_all, encode_prompts, token_ids
from expunge.data.processors import Pixels, pixels_of
from expunge.evaluation.suites.columns import answer_of, is_passage, question_of, text_of, texts_of
from expunge.evaluation.suites.suite import SetSpec, Suite


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer greedily with at most `new_tokens` tokens."""

    ids: tuple[int, ...]
    new_tokens: int
    pixels: Pixels | None = None


@dataclass(frozen=True)
class RowPlan:
    """Where a row's values will be found: positions in `Plan.scored` and `Plan.prompts`."""

    answer: int | None
    paraphrase: int | None
    wrong: tuple[int, ...]
    generation: int | None


@dataclass(frozen=True)
class Plan:
    """The work, without repetition.

    Attributes:
        scored: distinct token rows for the one teacher-forced pass.
        prompts: distinct prompts for the one greedy pass.
        rows: per set, per row, where its values will be.
        moments: positions in `scored` whose mean and standard deviation of log p_t are asked for.
        gradients: positions in `scored` whose gradient norm is asked for.
        asked: pairs asked for by the metrics, counted once per metric, as metric-by-metric evaluation would score them.
        asked_tokens: their tokens.
        asked_generations: generations asked for, counted once per metric.
    """

    scored: Sequence[Encoded]
    prompts: Sequence[Prompt]
    rows: Mapping[str, Sequence[RowPlan]]
    moments: frozenset[int]
    gradients: Sequence[int]
    asked: int
    asked_tokens: int
    asked_generations: int

    @property
    def scored_tokens(self) -> int:
        """Tokens of the teacher-forced pass, padding aside."""
        return sum(len(row.ids) for row in self.scored)


def plan(
    suite: Suite,
    sets: Mapping[str, Sequence[Row]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    style: PromptStyle = PromptStyle(),
) -> Plan:
    """Collect what the suite's metrics need on every set and remove what is asked for twice.

    Args:
        suite: its metrics declare what they need.
        sets: rows per set name.
        tokenizer: of the model.
        max_length: the model's context in tokens; longer completions are cut at their end.
        style: how conversations are written.
    """
    scored: dict[Encoded, int] = {}
    prompts: dict[Prompt, int] = {}
    plans: dict[str, list[RowPlan]] = {}
    with_moments: set[int] = set()
    with_gradient: set[int] = set()
    present = [spec for spec in suite.sets if spec.name in sets]
    metrics = {spec.name: suite.measured_on(spec, {s.kind for s in present}) for spec in present}

    needed = {spec.name: frozenset().union(*(metric.needs for metric in metrics[spec.name])) for spec in present}
    texts = {spec.name: [_texts(row, spec, needed[spec.name]) for row in sets[spec.name]] for spec in present}
    pairs = [
        (row, t) for spec in present for row, of in zip(sets[spec.name], texts[spec.name], strict=True) for t in of
    ]
    encodings = iter(encode_all(tokenizer, [(row, text) for row, text in pairs if text is not None], max_length, style))

    def place(text: str | None) -> int | None:
        if text is None:
            return None
        return scored.setdefault(next(encodings), len(scored))

    for spec in present:
        needs, rows = needed[spec.name], sets[spec.name]
        # Plain text that is no passage asks nothing.
        asks = ["generation" in needs and bool(row.turns or is_passage(row, spec)) for row in rows]
        asked_of = iter(_prompts(list(compress(rows, asks)), spec, suite, tokenizer, max_length, style))
        plans[spec.name] = []
        for (answer, paraphrase, *wrong), asking in zip(texts[spec.name], asks, strict=True):
            row_plan = RowPlan(
                answer=place(answer),
                paraphrase=place(paraphrase),
                wrong=tuple(at for text in wrong if (at := place(text)) is not None),
                generation=prompts.setdefault(next(asked_of), len(prompts)) if asking else None,
            )
            plans[spec.name].append(row_plan)
            if row_plan.answer is not None:
                with_moments.update([row_plan.answer] if "moments" in needs else [])
                with_gradient.update([row_plan.answer] if "gradient" in needs else [])
    encoded = list(scored)
    asked = [
        pair
        for spec in present
        for metric in metrics[spec.name]
        for row_plan in plans[spec.name]
        for pair in pairs_of(row_plan, metric.needs, spec.choices)
    ]
    asked_generations = sum(
        "generation" in metric.needs and row_plan.generation is not None
        for spec in present
        for metric in metrics[spec.name]
        for row_plan in plans[spec.name]
    )
    return Plan(
        scored=encoded,
        prompts=list(prompts),
        rows=plans,
        moments=frozenset(with_moments),
        gradients=sorted(with_gradient),
        asked=len(asked),
        asked_tokens=sum(len(encoded[i].ids) for i in asked),
        asked_generations=asked_generations,
    )


def ends(row: Encoded, end: int) -> bool:
    """Whether the last token of a row's completion is the end-of-turn token."""
    return row.completion_tokens > 0 and row.ids[-1] == end


def pairs_of(row: RowPlan, needs: frozenset[str], choices: bool) -> list[int]:
    """The pairs that one metric alone would score for a row."""
    pairs = [row.answer] if "answer" in needs else []
    if "paraphrase" in needs:
        pairs.append(row.paraphrase)
    if "wrong" in needs or (choices and "choices" in needs):
        pairs.extend(row.wrong)
    return [pair for pair in pairs if pair is not None]


def _texts(row: Row, spec: SetSpec, needs: frozenset[str]) -> list[str | None]:
    """The completions of a row to score: the answer, the paraphrase, and the wrong answers; None: not this one."""
    wrong = texts_of(row, spec.wrong) if "wrong" in needs or (spec.choices and "choices" in needs) else ()
    paraphrase = text_of(row, spec.paraphrase) if "paraphrase" in needs else None
    return [answer_of(row, spec) if "answer" in needs else None, paraphrase, *wrong]


def _prompts(
    rows: Sequence[Row],
    spec: SetSpec,
    suite: Suite,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    style: PromptStyle,
) -> list[Prompt]:
    """What each row is asked, as plain text or by the chat template, and how long the answer may be."""
    plain = [spec.raw or is_passage(row, spec) for row in rows]
    raw = iter(
        token_ids(tokenizer, [question_of(r, spec) for r, p in zip(rows, plain, strict=True) if p], special=True)
    )
    chat = iter(encode_prompts(tokenizer, [row for row, p in zip(rows, plain, strict=True) if not p], style))
    asked = []
    for row, is_plain in zip(rows, plain, strict=True):
        ids = tuple(next(raw if is_plain else chat))
        room = suite.new_tokens(spec, len(ids))
        room = room if max_length is None else min(room, max(0, max_length - len(ids)))
        asked.append(Prompt(ids, room, None if is_plain else pixels_of(tokenizer, row)))
    return asked
