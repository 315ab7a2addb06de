"""A suite with the metrics that belong to the judges a user names."""

from expunge.errors import InputError
from expunge.evaluation.request import JudgeModels
from expunge.evaluation.suites.suite import Suite
from expunge.evaluation.suites.tasks import HarnessSuite
from expunge.metrics.classifier import GIBBERISH, HARMFUL, classified
from expunge.metrics.perplexity import PERPLEXITY

KNOWN = {"gibberish": GIBBERISH, "harmful": HARMFUL}


def with_judges(suite: Suite, judges: JudgeModels) -> Suite:
    """The suite with the metrics of classifiers and of a fluency model, on every set whose rows are answered.

    Whether the label of a classifier that only the user knows is good or bad cannot be said: the aim is the retain
    model's value.

    Raises:
        InputError: a suite without answers, or a name that another metric has.
    """
    if isinstance(suite, HarnessSuite):
        if judges.classifiers or judges.fluency_model:
            raise InputError(f"Suite {suite.name!r} has no answers to judge: leave classifiers and fluency model out.")
        return suite
    metrics = [KNOWN.get(name) or classified(name, "closer_to_reference", "expunge") for name in judges.classifiers]
    own = {metric.name for metric in suite.metrics if "label" not in metric.needs}
    if taken := next((metric.name for pair in metrics for metric in pair if metric.name in own), None):
        raise InputError(f"--classifier: its metric {taken!r} would have the name of another. Choose another name.")
    fluency = [PERPLEXITY] if judges.fluency_model else []
    return suite.reporting(*(metric for pair in metrics for metric in pair), *fluency)
