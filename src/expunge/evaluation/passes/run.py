"""From a plan to measured values: each distinct row and prompt through the model once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import PromptStyle, end_of_turn
from expunge.evaluation.passes import processes
from expunge.evaluation.passes.generate import generate, stop_tokens
from expunge.evaluation.passes.gradients import gradient_norms
from expunge.evaluation.passes.plan import Plan
from expunge.evaluation.passes.score import TokenScores, score
from expunge.models.batching import by_prompt
from expunge.models.packing import packing
from expunge.models.precision import computing_in

# (stage, done, of) after each batch
Progress = Callable[[str, int, int], None]


@dataclass
class Measured:
    """What the passes over the model gave so far, by position in the plan."""

    scores: dict[int, TokenScores] = field(default_factory=dict)
    answers: dict[int, list[int]] = field(default_factory=dict)
    gradients: dict[int, float | None] = field(default_factory=dict)


class Store(Protocol):
    """Where batches are kept as they are measured, so that a killed evaluation can go on."""

    def read(self) -> Measured:
        """What earlier calls measured."""
        ...

    def add(self, batch: Measured) -> None:
        """Keep what a batch gave."""
        ...

    def close(self) -> None:
        """No more batches of this call."""
        ...


def run_plan(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    batch_tokens: int | None = None,
    progress: Progress = lambda stage, done, of: None,
    store: Store | None = None,
    generating: bool = True,
    style: PromptStyle = PromptStyle(),
    precision: str = "float32",
) -> Measured:
    """Run the distinct rows and the distinct prompts through the model, once each.

    Where several processes were launched together, each runs its share and all return the whole.

    Args:
        model: is in evaluation mode meanwhile.
        tokenizer: its own.
        plan: the work.
        batch_tokens: the most tokens of a scoring batch.
        progress: told after each batch.
        store: where each batch is kept, and where earlier calls left theirs.
        generating: whether prompts are answered too.
        style: how conversations are written.
        precision: what the model computes in: float32 or bfloat16.
    """
    measured = store.read() if store else Measured()
    processes.wait()  # all have read the same parts before one adds to them

    def take(stage: str, found: dict, batch: Measured, of: int) -> None:
        for kept, new in zip(_parts(measured), _parts(batch), strict=True):
            kept.update(new)
        if store:
            store.add(batch)
        progress(stage, len(found), of)

    training = model.training
    model.eval()
    try:
        progress("scoring", len(measured.scores), len(plan.scored))
        missing = [i for i in range(len(plan.scored)) if i not in measured.scores]
        prompts = by_prompt([plan.scored[i].ids[: plan.scored[i].start] for i in missing])
        groups = [[missing[j] for j in group] for group in prompts]
        unscored = processes.share(groups, [sum(len(plan.scored[i].ids) for i in group) for group in groups])
        with packing(model), computing_in(precision, model.device):
            for batch in score(model, plan.scored, unscored, plan.moments, batch_tokens):
                take("scoring", measured.scores, Measured(scores=dict(batch)), len(plan.scored))
        without = [i for i in plan.gradients if i not in measured.gradients]
        mine = processes.share([[i] for i in without], [len(plan.scored[i].ids) for i in without])
        with computing_in(precision, model.device):
            for norms in gradient_norms(model, plan.scored, mine, end_of_turn(tokenizer)):
                take("gradients", measured.gradients, Measured(gradients=dict(norms)), len(plan.gradients))
        wanted = range(len(plan.prompts)) if generating else ()
        progress("generating", len(measured.answers), len(wanted))
        unanswered = [i for i in wanted if i not in measured.answers]
        mine = processes.share([[i] for i in unanswered], [len(plan.prompts[i].ids) for i in unanswered])
        with computing_in(precision, model.device):
            for answers in generate(model, plan.prompts, mine, stop_tokens(model, tokenizer, style)):
                take("generating", measured.answers, Measured(answers=dict(answers)), len(plan.prompts))
    finally:
        model.train(training)
        if store:
            store.close()
    return Measured(*(processes.merge(found) for found in _parts(measured)))


def _parts(measured: Measured) -> tuple[dict, dict, dict]:
    return measured.scores, measured.answers, measured.gradients
