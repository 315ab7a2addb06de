"""What must be measured, once each: the distinct (prompt, completion) pairs and the distinct prompts of all sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from expunge.data import Encoded, PromptStyle, Row, encode, encode_prompt
from expunge.evaluation.suites.sets import is_passage, question_of, text_of, texts_of
from expunge.evaluation.suites.suite import SetSpec, Suite


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer greedily with at most `new_tokens` tokens."""

    ids: tuple[int, ...]
    new_tokens: int


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
        gradients: positions in `scored` whose gradient norm is asked for: one backward pass each.
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
    scored: dict[tuple[tuple[int, ...], int], int] = {}
    prompts: dict[Prompt, int] = {}
    plans: dict[str, list[RowPlan]] = {}
    with_moments: set[int] = set()
    with_gradient: set[int] = set()
    present = [spec for spec in suite.sets if spec.name in sets]
    metrics = {spec.name: suite.measured_on(spec, {s.kind for s in present}) for spec in present}

    def place(row: Row, text: str) -> int:
        encoded = encode(tokenizer, row, text, max_length, style)
        return scored.setdefault((encoded.ids, encoded.start), len(scored))

    for spec in present:
        needs = frozenset().union(*(metric.needs for metric in metrics[spec.name]))
        wrong = "wrong" in needs or (spec.choices and "choices" in needs)
        plans[spec.name] = []
        for row in sets[spec.name]:
            paraphrase = text_of(row, spec.paraphrase)
            row_plan = RowPlan(
                answer=place(row, row.completion) if "answer" in needs else None,
                paraphrase=place(row, paraphrase) if paraphrase is not None and "paraphrase" in needs else None,
                wrong=tuple(place(row, text) for text in texts_of(row, spec.wrong)) if wrong else (),
                generation=_prompt(row, spec, suite, tokenizer, prompts, max_length, style)
                if "generation" in needs and (row.turns or is_passage(row, spec))  # other plain text asks nothing
                else None,
            )
            plans[spec.name].append(row_plan)
            if row_plan.answer is not None:
                with_moments.update([row_plan.answer] if "moments" in needs else [])
                with_gradient.update([row_plan.answer] if "gradient" in needs else [])
    encoded = [Encoded(ids, start) for ids, start in scored]
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


def pairs_of(row: RowPlan, needs: frozenset[str], choices: bool) -> list[int]:
    """The pairs that one metric alone would score for a row."""
    pairs = [row.answer] if "answer" in needs else []
    if "paraphrase" in needs:
        pairs.append(row.paraphrase)
    if "wrong" in needs or (choices and "choices" in needs):
        pairs.extend(row.wrong)
    return [pair for pair in pairs if pair is not None]


def _prompt(
    row: Row,
    spec: SetSpec,
    suite: Suite,
    tokenizer: PreTrainedTokenizerBase,
    prompts: dict[Prompt, int],
    max_length: int | None,
    style: PromptStyle,
) -> int:
    plain = spec.raw or is_passage(row, spec)
    ids = tuple(tokenizer(question_of(row, spec))["input_ids"] if plain else encode_prompt(tokenizer, row, style))
    room = suite.new_tokens(spec, len(ids))
    if max_length is not None:
        room = min(room, max(0, max_length - len(ids)))
    return prompts.setdefault(Prompt(ids, room), len(prompts))
