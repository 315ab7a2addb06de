"""A suite with the metrics that the judges a user names bring along."""

from collections.abc import Collection

from expunge.errors import InputError
from expunge.evaluation.harness import HarnessSuite
from expunge.evaluation.suite import Suite
from expunge.metrics.classifier import GIBBERISH, HARMFUL, classified
from expunge.metrics.fluency import PERPLEXITY

KNOWN = {"gibberish": GIBBERISH, "harmful": HARMFUL}


def extended(suite: Suite, classifiers: Collection[str], fluency: bool) -> Suite:
    """The suite with the metrics of classifiers and of a fluency model, on every set whose rows are answered.

    Whether the label of a classifier that only the user knows is good or bad cannot be said: the aim is the retain
    model's value.

    Args:
        suite: a suite, which may have some of them itself.
        classifiers: their names.
        fluency: whether there is a model for perplexity.

    Raises:
        InputError: a suite without answers, or a name that another metric has.
    """
    if isinstance(suite, HarnessSuite):
        if classifiers or fluency:
            raise InputError(f"Suite {suite.name!r} has no answers to judge: leave classifiers and fluency model out.")
        return suite
    metrics = [KNOWN.get(name) or classified(name, "closer_to_reference", "expunge") for name in classifiers]
    own = {metric.name for metric in suite.metrics if "label" not in metric.needs}
    if taken := next((metric.name for pair in metrics for metric in pair if metric.name in own), None):
        raise InputError(f"--classifier: its metric {taken!r} would have the name of another. Choose another name.")
    return suite.reporting(*(metric for pair in metrics for metric in pair), *([PERPLEXITY] if fluency else []))
