"""What the table of metrics says of each, beside its formula: on which sets it is reported, and what its values are."""

from expunge.metrics import METRICS

YES_NO = {
    *("accuracy", "entailment", "fact_accuracy", "gibberish_rate", "hallucination_rate", "harmful_rate", "leak_rate"),
}
ONE_KIND = {
    **dict.fromkeys(("token_entropy", "reward", "original_similarity", "bert_score_f1"), ("retain",)),
    **dict.fromkeys(("leak_rate", "bleu", "hallucination_rate"), ("forget",)),
}
ATTACKS = {f"mia_{name}" for name in ("loss", "zlib", "min_k", "min_k_plus_plus", "gradnorm", "reference")}


def test_rows_that_are_counted() -> None:
    """Their intervals are Wilson's, and they are shown in per cent; so are the shares that each row has one of."""
    assert {metric.name for metric in METRICS if metric.yes_no} == YES_NO
    assert {metric.name for metric in METRICS if metric.share} == YES_NO | {"diversity", "exact_memorization"}


def test_sets_that_are_measured() -> None:
    both = ("forget", "retain")
    for metric in METRICS:
        expected = ("forget", "holdout") if metric.name in ATTACKS else ONE_KIND.get(metric.name, both)
        assert metric.kinds == expected, metric.name
        assert set(metric.kinds) <= set(metric.better), metric.name
        assert bool(metric.member) == (metric.name in ATTACKS), metric.name


def test_directions() -> None:
    """Down on the forget set and up on the retain set, but for these."""
    usual = {"forget": "lower", "retain": "higher"}
    other = {(m.name, kind): m.better[kind] for m in METRICS for kind in m.kinds if m.better[kind] != usual.get(kind)}
    attacks = {(name, kind): "closer_to_reference" for name in ATTACKS for kind in ("forget", "holdout")}
    worse = ("harmful_rate", "harmful_probability", "perplexity", "gibberish_rate", "gibberish_probability")
    up = {("truth_ratio", "forget"): "higher", ("diversity", "forget"): "higher"}
    assert other == attacks | up | {(name, "retain"): "lower" for name in worse}
