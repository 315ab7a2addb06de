"""Is it like a model that never saw the forget set? It is where no trace tells the two apart."""

from collections.abc import Sequence

from expunge.report.verdict.finding import Finding, Question
from expunge.report.verdict.thresholds import FEW_ROWS
from expunge.report.verdict.traces import Contrast
from expunge.report.words import together

LIKE_UNSEEN = Question(
    "Is it like a model that never saw the forget set?",
    "Like never seen",
    {"yes": "no trace found", "no": "traces remain", "open": "traces not settled"},
)
SHOWN = 4  # traces with their numbers, the strongest in the answer itself; the others by name
NEEDED = (
    "give a retain model (expunge eval --retain-model), or rows that the model never saw (--holdout) for membership "
    "inference"
)
BELOW_IS_A_TRACE = "Below is a trace as well: the gap itself can show that something was erased here."
CONTROLS_ALIKE = (
    "Controls stand in for a model that never saw the forget set. They must be like the forget set in all but having "
    "been trained on; where they differ, so do these numbers, with nothing left to find."
)


def likeness(compared: Sequence[Contrast]) -> Finding:
    """Can the model be told from one that never saw the forget set?

    Args:
        compared: what was compared with such a model, the farthest off first.
    """
    traces = [contrast for contrast in compared if contrast.trace]
    clear = [contrast.name for contrast in compared if not contrast.trace]
    evidence = tuple(f"{_start(trace.name)}: {trace.numbers}." for trace in traces[1:SHOWN])
    if more := [trace.name for trace in traces[SHOWN:]]:
        evidence += (f"Also {together(more)}.",)
    if clear:
        evidence += (f"Not told apart by {together(clear)}.",)
    limits = (BELOW_IS_A_TRACE,) if any(trace.below for trace in traces) else ()
    limits += (CONTROLS_ALIKE,) if any(contrast.by_controls for contrast in compared) else ()
    if traces:
        answer = f"Traces remain; the strongest is {traces[0].name}: {traces[0].numbers}."
        return Finding(LIKE_UNSEEN, "no", answer, evidence, limits)
    deciding = [contrast for contrast in compared if contrast.decides]
    if not deciding:
        why = "neither forget quality nor membership inference was compared with a model that never saw the forget set"
        return Finding(LIKE_UNSEEN, "open", f"Whether traces remain cannot be said: {why}; {NEEDED}.", evidence, limits)
    n, ways = max(contrast.n for contrast in deciding), together([contrast.name for contrast in deciding])
    if n < FEW_ROWS:
        answer = f"Whether traces remain is not settled: no difference found by {ways}, but among {n} rows only."
        return Finding(LIKE_UNSEEN, "open", answer, evidence, limits)
    limits += (f"No difference found among {n} rows is no proof that there is none: more rows find smaller ones.",)
    answer = f"No trace found: {ways} cannot tell it from a model that never saw the forget set."
    return Finding(LIKE_UNSEEN, "yes", answer, evidence, limits)


def _start(words: str) -> str:
    return words[0].upper() + words[1:]
