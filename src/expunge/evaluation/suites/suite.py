"""What a suite is, as data: its sets, where each finds its texts, its metrics, and the parts of its summaries."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from expunge.metrics import Kind, Metric

ANSWER = "answer"
"""In place of a column's name: the row's own completion, whatever its layout calls it."""


@dataclass(frozen=True)
class SetSpec:
    """One set of rows.

    Attributes:
        name: in results (`<name>/<metric>`).
        configuration: of the data folder or Hub data set; `{forget_split}` and `{holdout_split}` are replaced.
        kind: what the set is for.
        answer: column of the answer that is scored and that outputs are compared with, or ANSWER.
        paraphrase: column of the paraphrased answer, or ANSWER.
        wrong: column of the wrong answers (a list).
        truth: column that the output's embedding is compared with, or ANSWER.
        nli_truth: column that NLI compares the output with; None: the same as `truth`.
        label: in reports; None: the name.
        choices: whether the answer's probability is taken among the wrong answers.
        premise: which side of the NLI question the output (or the truth) stands on.
        metrics: names of those reported on it; None: every metric of its kind.
        columns: of the prompt and the answer, where the layout is none of the usual ones.
        raw: the prompt is text to be continued, not a question for the chat template.
        shots: configuration of question and answer rows that are put before each question, as plain text.
        max_tokens: limit of its greedy answers, in place of the suite's.
        stop_at: texts at which an answer is cut.
        reference_tokens: how many tokens of the answer ROUGE and BLEU compare with; None: all.
        continued: rows of plain text are continued: so many of their characters are the prompt, the rest is the
            reference; None: plain text asks nothing.
    """

    name: str
    configuration: str
    kind: Kind
    answer: str = ANSWER
    paraphrase: str = "paraphrased_answer"
    wrong: str = "perturbed_answer"
    truth: str = ANSWER
    nli_truth: str | None = None
    label: str | None = None
    choices: bool = False
    premise: Literal["output", "truth"] = "truth"
    metrics: tuple[str, ...] | None = None
    columns: tuple[str, str] | None = None
    raw: bool = False
    shots: str | None = None
    max_tokens: int | None = None
    stop_at: tuple[str, ...] = ()
    reference_tokens: int | None = None
    continued: int | None = None


@dataclass(frozen=True)
class Suite:
    """A published protocol.

    Attributes:
        name: on the command line and in results.
        source: the paper.
        summary: what it asks, in a line.
        sets: in the order of the tables.
        metrics: reported on every set of their kinds.
        max_tokens: limit of a greedy answer.
        limit_counts_prompt: whether the prompt's tokens count towards `max_tokens`.
        utility: metrics whose harmonic mean over the retain-like sets is `model_utility`, as a paper defines it.
        retain_utility: the same as `retain_utility`, where no paper says what must be kept.
        efficacy: metrics whose mean on the forget set, from 1, is `forget_efficacy`.
        leading: names of the metrics that show whether the forget set's answers are gone; of these groups the first
            that was measured decides.
    """

    name: str
    source: str
    summary: str
    sets: tuple[SetSpec, ...]
    metrics: tuple[Metric, ...]
    max_tokens: int
    limit_counts_prompt: bool
    utility: tuple[Metric, ...] = ()
    retain_utility: tuple[Metric, ...] = ()
    efficacy: tuple[Metric, ...] = ()
    leading: tuple[tuple[str, ...], ...] = (("fact_accuracy",), ("rougeL_recall", "probability"))

    def metrics_of(self, spec: SetSpec) -> tuple[Metric, ...]:
        """The metrics reported on a set."""
        named = self.metrics if spec.metrics is None else [m for m in self.metrics if m.name in spec.metrics]
        return tuple(m for m in named if spec.kind in m.kinds)

    def measured_on(self, spec: SetSpec, kinds: Collection[Kind]) -> tuple[Metric, ...]:
        """The metrics to measure on a set, where sets of `kinds` are there: membership needs a holdout."""
        return tuple(m for m in self.metrics_of(spec) if m.member is None or {"forget", "holdout"} <= set(kinds))

    def reporting(self, *extra: Metric) -> "Suite":
        """The suite with more metrics of outputs, on every set whose rows are answered."""
        new = tuple(metric for metric in extra if metric.name not in {known.name for known in self.metrics})
        answered = {metric.name for metric in self.metrics if "generation" in metric.needs}
        names = tuple(metric.name for metric in new)
        sets = tuple(
            replace(spec, metrics=(*spec.metrics, *names))
            if spec.metrics is not None and answered & set(spec.metrics)
            else spec
            for spec in self.sets
        )
        return replace(self, metrics=(*self.metrics, *new), sets=sets)

    def new_tokens(self, spec: SetSpec, prompt_tokens: int) -> int:
        """How many tokens may be generated after a prompt of this length."""
        limit = spec.max_tokens or self.max_tokens
        return max(0, limit - prompt_tokens) if self.limit_counts_prompt else limit
