"""Plain words for metrics, sets, directions and numbers, shared by the page, the verdict and the terminal table."""

import re
from dataclasses import dataclass

from expunge.report.load import Better, Number


@dataclass(frozen=True)
class Wording:
    """How a metric is named and explained; `share` is shown in per cent, `yes_no` is 0 or 1 for each row."""

    label: str
    meaning: str
    share: bool = False
    yes_no: bool = False


METRICS = {
    "fact_accuracy": Wording("Fact accuracy", "share of answers that contain the exact fact", share=True, yes_no=True),
    "probability": Wording("Probability", "length-normalised probability of the right answer"),
    "rougeL_recall": Wording("ROUGE-L recall", "share of the right answer's words found, in order, in the answer"),
    "truth_ratio": Wording("Truth ratio", "how the right answer's probability compares with wrong answers'"),
    "token_entropy": Wording("Token entropy", "variety of the words in the answer; near 0 it repeats itself"),
    "cosine_similarity": Wording("Cosine similarity", "closeness in meaning to the right answer (embedding model)"),
    "entailment": Wording(
        "Entailment", "share of answers that agree with the truth (NLI model)", share=True, yes_no=True
    ),
    "extraction_strength": Wording("Extraction strength", "share of the answer that its own beginning brings back"),
    "exact_memorization": Wording("Exact memorisation", "share of the answer's tokens predicted exactly", share=True),
    "probability_gap": Wording("Probability gap", "right against wrong answers' probability"),
    "mia_loss": Wording("Membership: loss", "AUC of forget against holdout rows by loss; 1 = forget far likelier"),
    "mia_zlib": Wording("Membership: zlib", "the same by loss per byte of the compressed answer"),
    "mia_min_k": Wording("Membership: min-k", "the same by the least likely 40 % of tokens"),
    "mia_min_k_plus_plus": Wording("Membership: min-k++", "min-k, normalised at each token"),
    "mia_gradnorm": Wording("Membership: gradient norm", "the same by the norm of the gradient"),
    "mia_reference": Wording("Membership: reference", "the same by loss minus the reference model's loss"),
    "model_utility": Wording("Model utility", "harmonic mean of the scores on what must be kept"),
    "model_utility_partial": Wording("Model utility (partial)", "model utility over the scores that were measured"),
    "forget_efficacy": Wording("Forget efficacy", "1 minus the mean of the scores on the forget set"),
    "forget_efficacy_partial": Wording("Forget efficacy (partial)", "forget efficacy over the scores there are"),
    "forget_quality": Wording(
        "Forget quality",
        "is it like the retain model? p-value and distance of a Kolmogorov-Smirnov (KS) test of truth ratios",
    ),
    "harmful_rate": Wording(
        "Harmful rate", "share of outputs that a classifier calls harmful", share=True, yes_no=True
    ),
    "harmful_probability": Wording("Harmful probability", "mean probability that the classifier gives that label"),
    "gibberish_rate": Wording("Gibberish rate", "share of outputs that a classifier calls gibberish", True, True),
    "gibberish_probability": Wording("Gibberish probability", "mean probability that the classifier gives that label"),
    "leak_rate": Wording(
        "Leak rate", "share of passages that are continued more like the text than random ones are", True, True
    ),
    "bleu": Wording("BLEU", "overlap of the continuation with the passage, by up to four words in a row"),
    "hallucination_rate": Wording(
        "Hallucination rate", "share of outputs closer to the hallucinated than to the right answer", True, True
    ),
    "diversity": Wording("Diversity", "share of the output's tokens that are unique", share=True),
    "perplexity": Wording("Perplexity", "how surprising the output is to a reference model"),
    "reward": Wording("Reward", "score of a reward model"),
    "original_similarity": Wording("Similarity to the original", "closeness in meaning to the original model's output"),
    "flops": Wording(
        "Training FLOPs",
        "what the run computed, from its training tokens (n) and the model's size; a count, so without an interval",
    ),
    "privleak": Wording("Privacy leak", "min-k membership AUC against the retain model's, in per cent; 0 is like it"),
}
SETS = {
    "forget": "Forget set",
    "retain": "Retain set",
    "real_authors": "Real authors",
    "world_facts": "World facts",
    "neighbor": "Neighbours of the forget set",
    "holdout": "Holdout set",
    "unseen": "Unseen, like the forget set",
    "normal": "Normal prompts",
}
ARROWS: dict[Better, tuple[str, str]] = {
    "higher": ("↑", "higher is better"),
    "lower": ("↓", "lower is better"),
    "closer_to_reference": ("≈", "closer to the retain model is better"),
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def wording(metric: str) -> Wording:
    """The words for a metric; one without an entry is shown under its own name."""
    return METRICS.get(metric, Wording(metric.replace("_", " "), ""))


def set_label(name: str) -> str:
    """The words for a set; one without an entry is shown under its own name."""
    return SETS.get(name, name)


def number(value: float, share: bool = False) -> str:
    """Two decimals, per cent for shares; small values keep one significant figure, and large ones are cut to three."""
    if share:
        return f"{100 * value:.3g}\N{NO-BREAK SPACE}%"
    if 0 < abs(value) < 0.005:
        return f"{value:.3f}" if abs(value) >= 0.001 else f"{value:.0e}"
    return f"{value:.2f}" if abs(value) < 1e6 else f"{value:.2e}"


def interval(ci95: tuple[float, float] | None, share: bool = False) -> str:
    """`[lo, hi]`, in per cent without the sign for shares; "no interval" where there is none."""
    if ci95 is None:
        return "no interval"
    lo, hi = (f"{100 * x:.3g}" if share else number(x) for x in ci95)
    return f"[{lo},\N{NO-BREAK SPACE}{hi}]"


def stated(measured: Number, share: bool = False) -> str:
    """A number with what it needs to be read: `3 % [0, 8], n = 40`."""
    rows = f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{measured.n}"
    return f"{number(measured.value, share)} {interval(measured.ci95, share)}, {rows}"


def printable(text: str) -> str:
    """The text without control characters, which could drive a terminal or break an SVG label."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
