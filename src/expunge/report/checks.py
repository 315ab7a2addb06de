"""Do the numbers belong together? Fingerprints say which models, settings and code they come from."""

from collections.abc import Iterator

from expunge.report.comparison import Comparison


def doubts(comparison: Comparison) -> list[str]:
    """What a reader must know before comparing the models of a page; empty where everything fits."""
    return [*_weights(comparison), *_measuring(comparison)]


def _weights(comparison: Comparison) -> Iterator[str]:
    target = comparison.target.results.model.fingerprint if comparison.target else ""
    seen: dict[str, str] = {}
    for run in comparison.runs:
        own = run.results.model.fingerprint
        started_from = (run.environment.get("fingerprints") or {}).get("target_model")
        if own and own == target:
            yield f"{run.name} has exactly the target's weights: nothing was unlearned."
        elif own and own in seen:
            yield f"{run.name} and {seen[own]} have exactly the same weights."
        seen.setdefault(own, run.name)
        if started_from and target and started_from != target:
            yield (
                f"{run.name} was unlearned from another model ({started_from}) than the target shown here ({target}): "
                "what it lost or kept cannot be read off this comparison."
            )


def _measuring(comparison: Comparison) -> Iterator[str]:
    first = comparison.models[0]
    for other in comparison.models[1:]:
        settings, theirs = first.results.recipe or {}, other.results.recipe or {}
        if settings.get("tokenizer") != theirs.get("tokenizer"):
            yield (
                f"{other.name} and {first.name} have different tokenizers: probabilities per token, truth ratios and "
                "forget quality do not compare."
            )
        elif settings.get("fingerprint") != theirs.get("fingerprint"):
            yield f"{other.name} and {first.name} were measured with different settings of the evaluation."
        if (first.results.code or {}) != (other.results.code or {}):
            yield f"{other.name} and {first.name} were measured by different versions of the code."
