"""What a metric is: a pure function of one example's measured values, and how examples are averaged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Better = Literal["higher", "lower", "closer_to_reference"]
Kind = Literal["forget", "retain", "holdout"]
"""What a set is for: what must go, what must stay (every retain-like set), what was never trained on."""

Need = Literal[
    "answer",
    "answer_text",
    "moments",
    "gradient",
    "paraphrase",
    "wrong",
    "choices",
    "generation",
    "similarity",
    "entailment",
    "fact",
    "correct",
    "label",
    "reward",
    "fluency",
    "hallucination",
    "passage",
    "original",
    "bert_score",
]
"""What must be measured for a metric; the planner takes the union over all metrics, so that nothing runs twice.

"choices" are the wrong answers on sets whose answer competes with them; "wrong", those on every set. "moments" are
the mean and standard deviation of log p_t under p_t, from the same pass as the log-probabilities. A "passage" is plain
text that the model continues; "original" is what the model before unlearning says to the same prompt, "bert_score" the
same, token by token.
"""


@dataclass(frozen=True)
class Completion:
    """One completion under the model, from one teacher-forced pass: arrays with one value per completion token.

    Attributes:
        logprobs: log p_t(y_t) in nats, end-of-turn token included.
        greedy: whether y_t is the most likely token at t.
        ends: whether the last token is the end-of-turn token, which memorisation metrics leave out.
        mean: mean of log p_t over the vocabulary under p_t (minus the entropy); None where no metric needs it.
        std: standard deviation of log p_t under p_t; likewise.
    """

    logprobs: np.ndarray
    greedy: np.ndarray
    ends: bool
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    @property
    def token_nll(self) -> float | None:
        """nll/T in nats per token; None for a completion without tokens."""
        return float(-self.logprobs.mean()) if self.logprobs.size else None

    @property
    def content(self) -> slice:
        """The tokens of the text itself: all but the end-of-turn token."""
        return slice(0, len(self.logprobs) - (1 if self.ends else 0))


@dataclass(frozen=True)
class Label:
    """What a classifier says of a text: the probability of the label asked for, and whether the text carries it."""

    probability: float
    carried: bool


@dataclass(frozen=True)
class Example:
    """Everything measured on one row. A value that was not asked for, or that the row cannot have, is None or empty.

    Attributes:
        kind: what the row's set is for.
        choices: whether the answer competes with the wrong answers (TOFU's real authors and world facts).
        answer: the row's own answer under the model.
        answer_text: that answer, decoded from its tokens.
        paraphrase: its paraphrase (the answer itself where the suite says so).
        wrong: the wrong answers, in the row's order.
        generation: the model's greedy answer, decoded.
        generation_tokens: that text tokenised again.
        reference: the text ROUGE compares with.
        fact: the exact string that must (not) appear in the greedy answer.
        similarity: cosine of the sentence embeddings of the greedy answer and the truth.
        entails: whether the NLI model finds that premise entails hypothesis (suite-specific direction).
        correct: what a task of lm-evaluation-harness says of the answer, in [0, 1].
        gradient_norm: mean over parameter tensors of the L2 norm of the gradient of the answer's token-mean loss,
            without end-of-turn.
        labels: what each classifier says of the greedy answer, by the classifier's name.
        reward: what the reward model gives the greedy answer to the prompt.
        fluency_nll: nll/T of the greedy answer under the fluency model, in nats per token; None for an empty answer.
        hallucinated_similarity: cosine of the sentence embeddings of the greedy answer and the hallucinated one.
        right_similarity: the same with the right answer, on rows that have both.
        leak_threshold: BLEU above which a continued passage counts as leaked; None for rows that are no passage.
        passage: whether the row is plain text of which the first characters were the prompt.
        original_similarity: cosine of the sentence embeddings of the greedy answer and the original model's.
        bert_score_f1: BERTScore of the two.
    """

    kind: Kind
    choices: bool = False
    answer: Completion | None = None
    answer_text: str | None = None
    paraphrase: Completion | None = None
    wrong: tuple[Completion, ...] = ()
    generation: str | None = None
    generation_tokens: tuple[str, ...] = ()
    reference: str = ""
    fact: str | None = None
    similarity: float | None = None
    entails: bool | None = None
    gradient_norm: float | None = None
    correct: float | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    reward: float | None = None
    fluency_nll: float | None = None
    hallucinated_similarity: float | None = None
    right_similarity: float | None = None
    leak_threshold: float | None = None
    passage: bool = False
    original_similarity: float | None = None
    bert_score_f1: float | None = None


def unchanged(values: np.ndarray, kind: Kind) -> np.ndarray:
    """The values themselves: most metrics are the mean of their per-example values."""
    return values


@dataclass(frozen=True)
class Metric:
    """One row of the metrics table.

    Attributes:
        name: the key in results (`<set>/<name>`) and the column in the table of examples.
        per_example: an example's value, or None where it is undefined.
        definition: the formula, for people.
        source: arXiv number of the paper it is from.
        needs: what must be measured for it.
        kinds: the kinds of set it is reported on.
        better: the direction that is good, per kind of set.
        terms: per-example values of a kind of set -> the numbers whose mean is the set's value; elementwise.
        member: for membership inference, which values speak for membership; the forget set's value is then the AUC
            against the holdout set in place of a mean.
        relative_to: a metric whose per-example values under a reference model are subtracted from this one's.
        why_null: what would have to be given for the value to be measured.
        label: in reports; default: the name.
        meaning: in reports, in a line.
        share: whether it is shown in per cent.
        yes_no: whether each row's value is 0 or 1.
    """

    name: str
    per_example: Callable[[Example], float | None]
    definition: str
    source: str
    needs: frozenset[Need]
    kinds: tuple[Kind, ...] = ("forget", "retain")
    better: dict[Kind, Better] = field(default_factory=lambda: {"forget": "lower", "retain": "higher"})
    terms: Callable[[np.ndarray, Kind], np.ndarray] = unchanged
    member: Literal["higher", "lower"] | None = None
    relative_to: str | None = None
    why_null: str = "no row of this set has the values it needs"
    label: str = ""
    meaning: str = ""
    share: bool = False
    yes_no: bool = False
