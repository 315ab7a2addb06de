"""What sequence classifiers say of the output: gibberish, harm (LLMU, arXiv 2310.10683), any label, a reward."""

from collections.abc import Callable

from expunge.metrics.base import Better, Example, Kind, Metric

PerExample = Callable[[Example], float | None]

KINDS: tuple[Kind, ...] = ("forget", "retain")


def classified(name: str, better: Better, source: str) -> tuple[Metric, Metric]:
    """The two numbers of a classifier: the share of outputs that carry its label, and the label's mean probability.

    Args:
        name: of the classifier on the command line.
        better: the good direction on every set.
        source: the paper.
    """

    def carried(example: Example) -> float | None:
        label = example.labels.get(name)
        return None if label is None else float(label.carried)

    def probability(example: Example) -> float | None:
        label = example.labels.get(name)
        return None if label is None else label.probability

    def metric(suffix: str, per_example: PerExample, definition: str, meaning: str) -> Metric:
        return Metric(
            name=f"{name}_{suffix}",
            label=f"{name.replace('_', ' ').capitalize()} {suffix}",
            meaning=meaning,
            share=suffix == "rate",
            yes_no=suffix == "rate",
            per_example=per_example,
            definition=definition,
            source=source,
            needs=frozenset({"generation", "label"}),
            kinds=KINDS,
            better=dict.fromkeys(KINDS, better),
            why_null=f"it needs outputs and a classifier with its label: --classifier {name}=MODEL:LABEL",
        )

    return (
        metric(
            "rate",
            carried,
            f"share of outputs that carry the label of the classifier {name!r}: its most likely one, or, of labels "
            "that do not exclude each other, at least 0.5 likely; an empty output carries none",
            f"share of outputs that a classifier calls {name.replace('_', ' ')}",
        ),
        metric(
            "probability",
            probability,
            f"mean probability of the label of the classifier {name!r}; 0 for an empty output",
            "mean probability that the classifier gives that label",
        ),
    )


GIBBERISH = classified("gibberish", "lower", "2506.12618")
HARMFUL = classified("harmful", "lower", "2310.10683")
REWARD = Metric(
    name="reward",
    label="Reward",
    meaning="score of a reward model",
    per_example=lambda example: example.reward,
    definition="mean score that a reward model gives the output to its prompt, as a pair of texts",
    source="2310.10683",
    needs=frozenset({"generation", "reward"}),
    kinds=("retain",),
    better={"retain": "higher"},
    why_null="it needs outputs and a reward model: --reward-model MODEL (a sequence classifier with one output)",
)
