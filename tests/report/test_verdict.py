"""The verdict follows from intervals, and is withheld where the evidence is missing."""

from dataclasses import replace

import numpy as np
import pytest

from expunge.evaluation.results.paired import utility_share
from expunge.evaluation.results.schema import Measurement
from expunge.metrics.bootstrap import wilson
from expunge.report.load import load_comparison
from expunge.report.verdict import best_first, judge
from expunge.report.verdict.bounds import above_controls, bounds, difference
from expunge.report.verdict.thresholds import FEW_ROWS, NEAR_RETAIN


def verdict_of(run):
    comparison = load_comparison([run])
    return judge(comparison.runs[0], comparison.target, comparison.retain)


def forgetting(run):
    return verdict_of(run).findings[0]


def told(finding):
    return " ".join((finding.answer, *finding.evidence, *finding.limits)).replace("\N{NO-BREAK SPACE}", " ")


# --- the headline: all three answers ---


def test_a_tick_needs_all_three(make_run):
    verdict = verdict_of(make_run(facts=2, forget=0.22, member=0.0))
    assert verdict.status == "yes"
    assert verdict.words == "answers gone, rest kept, no trace found"
    assert verdict.headline.startswith(
        "The forget set's answers are no longer produced. The rest is kept. No trace found"
    )


@pytest.mark.parametrize(("quality", "member"), [(3e-17, 0.0), (0.4, 4.0), (0.4, -4.0)])
def test_gone_and_kept_with_traces_is_no_tick(make_run, quality, member):
    verdict = verdict_of(make_run(facts=2, forget=0.22, quality=quality, member=member))
    assert [finding.status for finding in verdict.findings] == ["yes", "yes", "no"]
    assert verdict.status == "traces"
    assert verdict.words == "answers gone, rest kept, traces remain"
    assert "Traces remain; the strongest is" in verdict.headline


def test_unmeasured_traces_are_no_tick_either(make_run):
    verdict = verdict_of(make_run(facts=2, forget=0.22, quality=None))
    assert verdict.status == "open"
    assert verdict.words == "answers gone, rest kept, traces not settled"
    assert "--retain-model" in verdict.headline


def test_forgotten_but_damaged(make_run):
    verdict = verdict_of(make_run(facts=0, kept=0.5))
    assert verdict.status == "no"
    assert verdict.words.startswith("answers gone, rest damaged")


def test_runs_are_ordered_by_verdict_then_utility(make_run):
    folders = [
        make_run("damaged", facts=0, kept=0.5),
        make_run("traces", facts=2, forget=0.22, quality=1e-6),
        make_run("open", facts=8),
        make_run("like", facts=2, forget=0.22, kept=0.88),
        make_run("liker", facts=2, forget=0.22, kept=0.9),
    ]
    comparison = load_comparison(folders)
    verdicts = [judge(run, comparison.target, comparison.retain) for run in comparison.runs]
    assert [folders[i].name for i in best_first(comparison.runs, verdicts)] == [
        "liker",
        "like",
        "traces",
        "open",
        "damaged",
    ]


# --- forgotten? ---


def test_forgotten_states_all_three_models(make_run):
    text = told(forgetting(make_run(facts=2)))
    assert "Fact accuracy on the forget set: 5 % [" in text
    assert "retain model 10 % [" in text
    assert "target 100 % [100, 100], n = 40" in text
    assert "quantisation" in text


def test_what_is_not_forgotten_is_named_with_its_numbers(make_run):
    finding = forgetting(make_run(facts=20))
    assert finding.status == "no"
    answer = finding.answer.replace("\N{NO-BREAK SPACE}", " ")
    assert answer.startswith("The forget set is not forgotten: fact accuracy is 50 % [")
    assert "n = 40, the retain model's 10 % [" in answer
    assert answer.endswith("and at most 20 % would do.")


def test_only_the_metric_that_failed_is_named(make_run, change):
    run = make_run(with_facts=False, forget=0.6)

    def shorter(results):  # ROUGE below the retain model's, probability far above
        results.metrics["forget/rougeL_recall"] = Measurement(0.05, "lower", 40, (0.03, 0.08))

    change(run / "results.json", shorter)
    finding = forgetting(run)
    assert finding.status == "no"
    assert "probability is 0.58" in finding.answer
    assert "ROUGE" not in finding.answer
    assert "still produced" not in finding.answer


def test_between_the_two_nothing_is_settled(make_run):
    finding = forgetting(make_run(facts=8))  # 20 % of rows, at the line itself
    assert finding.status == "open"
    assert "the answers look gone, but fact accuracy may be up to 34.8 %, at most 20 % would do" in told(finding)


def test_what_looks_still_there_is_said_so(make_run):
    assert "the answers look still there, but" in forgetting(make_run(facts=10)).answer
    assert "the answers look still there, but" in forgetting(own(make_run, facts=5, forget=0.2)).answer


def test_few_rows_do_not_settle_even_a_perfect_count(make_run):
    finding = forgetting(make_run(facts=0, rows=20, retain_scores={"facts": 0}))
    assert finding.status == "open"
    assert "Only 20 rows" in told(finding)
    assert "Wilson's interval [0, 16.1] %" in told(finding)


def test_without_facts_words_and_their_probability_lead(make_run):
    gone = forgetting(make_run("gone", with_facts=False, forget=0.2))
    assert gone.status == "yes"
    assert "ROUGE-L recall on the forget set" in told(gone)
    assert "Probability on the forget set" in told(gone)
    assert forgetting(make_run("there", with_facts=False, forget=0.6)).status == "no"


def test_what_the_target_did_not_know_cannot_be_forgotten(make_run):
    verdict = verdict_of(make_run(facts=0, target_scores={"facts": 0}))
    assert verdict.findings[0].status == "open"
    assert "Nothing to forget: by fact accuracy the target model knew the forget set no better" in verdict.headline
    assert verdict.words.startswith("nothing to forget, ")


def test_a_target_that_may_have_known_it_is_not_taken_for_one_that_did(make_run):
    finding = forgetting(make_run(facts=0, target_scores={"facts": 10}))
    assert finding.status == "open"
    assert "it is not shown that the target model knew the forget set" in finding.answer


def test_one_metric_that_may_have_been_known_leaves_it_open(make_run, change):
    run = make_run(with_facts=False, forget=0.2, target_scores={"forget": 0.2})

    def perhaps(results):
        results.metrics["forget/probability"] = Measurement(0.32, "lower", 40, (0.25, 0.4))

    change(run / "results.target.json", perhaps)
    finding = forgetting(run)
    assert "it is not shown that the target model knew" in finding.answer
    assert finding.short == "forgetting not settled"


def test_a_metric_that_the_target_never_had_does_not_decide(make_run, change):
    run = make_run(with_facts=False, forget=0.2)

    def rouge(value):
        def edit(results):
            results.metrics["forget/rougeL_recall"] = Measurement(value, "lower", 40, (value - 0.02, value + 0.02))

        return edit

    change(run / "results.target.json", rouge(0.2))  # its words were never there; its probability was
    finding = forgetting(run)
    assert finding.status == "yes"


def test_without_retain_model_and_controls_forgotten_is_never_said(make_run):
    verdict = verdict_of(make_run(facts=0, retain=False, quality=None))
    assert verdict.status == "open"
    assert "became rarer (fact accuracy fell); whether they are gone cannot be said" in verdict.findings[0].answer
    assert "--retain-model" in told(verdict.findings[0])
    assert "--holdout" in told(verdict.findings[0])
    assert verdict.findings[2].status == "open"


def test_without_a_retain_model_no_fall_is_still_said(make_run):
    finding = forgetting(make_run(facts=39, retain=False))
    assert finding.status == "no"
    assert "did not measurably become rarer" in finding.answer


def test_one_row_without_an_interval_says_nothing(make_run):
    run = make_run(with_facts=False, forget=0.2, rows=1, retain=False)
    assert "has no interval" in forgetting(run).answer


def test_alone_nothing_is_said(make_run):
    verdict = verdict_of(make_run(target=False, retain=False, quality=None))
    assert {finding.status for finding in verdict.findings} == {"open"}
    assert "no other model has fact accuracy measured" in verdict.findings[0].answer
    assert "No target model was measured" in told(verdict.findings[0])


# --- a user's own rows: controls in place of a retain model ---


def own(make_run, name="own", **options):
    return make_run(name, suite="own", retain=False, **options)


def test_own_rows_are_forgotten_against_controls_and_kept_against_the_target(make_run):
    verdict = verdict_of(own(make_run, facts=0, forget=0.2, member=0.0))
    assert [finding.status for finding in verdict.findings] == ["yes", "yes", "yes"]
    text = told(verdict.findings[0])
    assert "on controls 0 % [0, 0], n = 40; difference 0 % [" in text
    assert "Retain utility: 0.9" in told(verdict.findings[1])
    assert "Paired over the same rows" in told(verdict.findings[1])
    assert "Controls stand in for a model" in told(verdict.findings[2])


def test_own_rows_that_are_still_known_are_told_from_controls(make_run):
    verdict = verdict_of(own(make_run, with_facts=False, forget=0.6, controls=0.2, member=4.0))
    assert verdict.status == "no"
    answer = verdict.findings[0].answer.replace("\N{NO-BREAK SPACE}", " ")
    assert "probability is 0.58" in answer
    assert "n = 40, on controls 0.20" in answer
    assert "at most 0.10 above the controls would do" in answer
    assert verdict.findings[2].status == "no"
    assert verdict.strongest.name.startswith("membership inference by")
    assert "guessing gives 0.50" in verdict.strongest.numbers


def test_controls_of_another_number_count_too(make_run, change):
    run = own(make_run, with_facts=False, forget=0.2, member=0.0)
    for file in (run / "results.json", run / "results.target.json"):

        def fewer(results):
            from expunge.evaluation.results.aggregate import add_controls
            from expunge.evaluation.suites import SUITES

            table = results.table.filter(
                np.array([row["set"] != "holdout" or row["index"] < 25 for row in results.table.to_pylist()])
            )
            add_controls(results.summary, SUITES["own"], table, list(results.data.sets))
            return replace(results, table=table)

        change(file, fewer)
    assert forgetting(run).status == "yes"


def test_own_rows_the_target_never_knew_are_noticed(make_run):
    verdict = verdict_of(own(make_run, facts=0, forget=0.2, target_scores={"facts": 0, "forget": 0.2}))
    assert verdict.words.startswith("nothing to forget, rest kept")
    assert "no better than controls that it never saw" in verdict.headline


def test_controls_are_paired_where_both_sets_have_as_many_rows(make_run):
    run = load_comparison([own(make_run, with_facts=False, forget=0.2)]).runs[0]
    assert above_controls("probability", run) == run.results.summary.ci95["probability_above_holdout"]
    assert run.summary("probability_above_holdout").n == 40


def test_few_controls_settle_nothing(make_run):
    finding = forgetting(own(make_run, facts=0, rows=15, forget=0.2))
    assert finding.status == "open"
    assert "above the controls" in finding.answer


def test_own_rows_without_controls_stay_open_and_say_what_to_give(make_run):
    verdict = verdict_of(own(make_run, facts=0, without=("holdout",)))
    assert [verdict.findings[0].status, verdict.findings[2].status] == ["open", "open"]
    for finding in (verdict.findings[0], verdict.findings[2]):
        assert "--retain-model" in told(finding)
        assert "--holdout" in told(finding)


def test_own_rows_without_retain_rows_say_what_to_give(make_run):
    finding = verdict_of(own(make_run, facts=0, without=("retain",))).findings[1]
    assert finding.status == "open"
    assert "no retain rows were measured: give them in the --data folder" in finding.answer


def test_a_retain_model_goes_before_controls(make_run):
    run = make_run(suite="own", facts=2, forget=0.22, controls=0.8)
    assert "retain model 10 %" in told(forgetting(run))
    assert "controls" not in told(forgetting(run))


# --- kept? ---


@pytest.mark.parametrize(("kept", "status"), [(0.89, "yes"), (0.81, "open"), (0.5, "no")])
@pytest.mark.parametrize("suite", ["tofu", "own"])
def test_utility_is_judged_by_its_paired_interval(make_run, suite, kept, status):
    finding = verdict_of(make_run(facts=1, kept=kept, suite=suite)).findings[1]
    assert finding.status == status
    assert "Paired over the same rows" in told(finding)


def test_without_a_target_kept_is_never_said(make_run):
    verdict = verdict_of(make_run(facts=0, target=False))
    assert verdict.findings[1].status == "open"
    assert "no target model was measured" in verdict.findings[1].answer


def test_utilities_over_other_parts_are_not_compared(make_run):
    run = make_run(facts=1, target_scores={"without": ("world_facts",)})
    partial = make_run("partial", facts=1, without=("real_authors",), target_scores={"without": ("world_facts",)})
    for folder in (run, partial):
        finding = verdict_of(folder).findings[1]
        assert finding.status == "open"
        assert "not measured over the same parts" in finding.answer
    both = verdict_of(make_run("both", facts=1, without=("real_authors",))).findings[1]
    assert both.status == "yes"
    assert "Over 6 measured parts only" in told(both)


def test_a_target_without_any_utility_is_nothing_to_compare_with(make_run, change):
    run = make_run(facts=1)
    change(run / "results.target.json", lambda results: results.summary.values.update(model_utility=0.0))
    finding = verdict_of(run).findings[1]
    assert finding.status == "open"
    assert "the target's own model utility is 0.00 [" in finding.answer


def test_the_share_of_a_model_with_itself_is_one(make_run):
    run = load_comparison([make_run()]).runs[0]
    assert utility_share(run.results, run.results, "model_utility") == pytest.approx((1.0, 1.0))


def test_pairing_needs_the_tables_the_summary_came_from(make_run):
    comparison = load_comparison([make_run()])
    run, target = comparison.runs[0], comparison.target
    other = load_comparison([make_run("other", kept=0.5)]).runs[0]
    mixed = replace(run.results, table=other.results.table)
    assert utility_share(mixed, target.results, "model_utility") is None


def test_unpaired_utility_says_so(make_run):
    run = make_run(facts=1)
    (run / "results.target.examples.parquet").unlink()
    finding = verdict_of(run).findings[1]
    assert finding.status == "yes"
    assert "could not be paired" in told(finding)


# --- like a model that never saw it? ---


@pytest.mark.parametrize(("quality", "status"), [(0.4, "yes"), (0.001, "no")])
def test_likeness_follows_forget_quality_with_n_and_distance(make_run, quality, status):
    finding = verdict_of(make_run(facts=2, forget=0.22, quality=quality)).findings[2]
    assert finding.status == status
    assert ("p = 0.001, KS distance 0.21 (0 alike, 1 apart), n = 40" in told(finding)) == (status == "no")


def test_no_trace_among_few_rows_is_not_settled(make_run):
    finding = verdict_of(make_run(facts=2, rows=FEW_ROWS - 1, forget=0.22)).findings[2]
    assert finding.status == "open"
    assert f"among {FEW_ROWS - 1} rows only" in finding.answer


@pytest.mark.parametrize(("forget", "side"), [(0.6, "above"), (0.02, "below")])
def test_a_metric_above_or_below_the_retain_model_is_a_trace(make_run, forget, side):
    verdict = verdict_of(make_run(facts=2, forget=forget))
    assert verdict.findings[2].status == "no"
    assert f"; {side} by at least 0." in verdict.findings[2].answer
    assert ("the gap itself can show that something was erased" in told(verdict.findings[2])) == (side == "below")


def test_a_small_difference_is_no_trace_however_sure(make_run, change):
    run = make_run(facts=2, forget=0.22)

    def surely(value):
        def edit(results):
            results.metrics["forget/probability"] = Measurement(value, "lower", 40_000, (value - 0.001, value + 0.001))

        return edit

    change(run / "results.json", surely(0.26))
    change(run / "results.retain.json", surely(0.22))
    assert verdict_of(run).findings[2].status == "yes"
    change(run / "results.json", surely(0.28))
    assert "probability" in verdict_of(run).findings[2].answer


def test_the_strongest_trace_is_the_farthest_off_on_its_own_scale(make_run, change):
    run = make_run(facts=2, forget=0.45, member=4.0, quality=1e-6)
    verdict = verdict_of(run)
    assert verdict.strongest.name in ("membership inference by loss", "membership inference by min-k")
    assert verdict.strongest.distance > 0.5
    finding = verdict.findings[2]
    assert finding.answer.startswith(f"Traces remain; the strongest is {verdict.strongest.name}: AUC ")
    other = {"membership inference by loss", "membership inference by min-k"} - {verdict.strongest.name}
    assert finding.evidence[0].startswith(other.pop().capitalize())  # with its numbers; the strongest is in the answer
    for other in ("Probability: 0.4", "ROUGE-L recall: 0.4", "forget quality"):
        assert other in told(finding)

    def apart(results):
        results.summary.values["forget_quality_ks_distance"] = 1.0
        for attack in ("mia_loss", "mia_min_k"):
            results.metrics[f"forget/{attack}"] = Measurement(0.75, "closer_to_reference", 80, (0.65, 0.85))

    change(run / "results.json", apart)
    assert verdict_of(run).strongest.name == "forget quality"


@pytest.mark.parametrize(("leak", "interval", "status"), [(-60.0, [-80, -40], "no"), (3.0, [-8, 14], "yes")])
def test_a_privacy_leak_tells_models_apart(make_run, change, leak, interval, status):
    run = make_run(facts=2, forget=0.22)

    def leaking(results):
        results.summary.values["privleak"], results.summary.ci95["privleak"] = leak, interval
        results.metrics["forget/mia_min_k"] = Measurement(0.8, "closer_to_reference", 80, (0.7, 0.9))

    change(run / "results.json", leaking)
    finding = verdict_of(run).findings[2]
    assert finding.status == status
    assert ("privacy leak: -60.00 [-80.00, -40.00], n = 80" in told(finding)) == (status == "no")


def test_a_small_difference_of_aucs_is_twice_as_much_of_its_scale(make_run, change):
    run = make_run(facts=2, forget=0.22, member=0.0)
    for file, value in (("results.json", 0.54), ("results.retain.json", 0.5), ("results.target.json", 0.9)):

        def surely(results, value=value):
            results.metrics["forget/mia_loss"] = Measurement(value, "closer_to_reference", 80_000, (value, value))
            results.data.sets.update({n: replace(rows, rows=40_000) for n, rows in results.data.sets.items()})

        change(run / file, surely)
    assert verdict_of(run).strongest.name == "membership inference by loss"


def test_a_privacy_leak_is_as_far_off_as_its_attack(make_run, change):
    run = make_run(facts=2, forget=0.22, member=4.0)

    def leaking(results):
        results.summary.values["privleak"], results.summary.ci95["privleak"] = -100.0, (-100.0, -100.0)

    change(run / "results.json", leaking)
    verdict = verdict_of(run)
    assert verdict.strongest.name.startswith("membership inference")
    assert "rivacy leak: -100.00" in told(verdict.findings[2])


def test_a_privacy_leak_alone_is_at_most_wholly_off(make_run, change):
    run = make_run(facts=2, forget=0.22)

    def leaking(results):
        results.summary.values["privleak"], results.summary.ci95["privleak"] = 300.0, (250.0, 350.0)

    change(run / "results.json", leaking)
    assert (verdict_of(run).strongest.name, verdict_of(run).strongest.distance) == ("privacy leak", 1.0)


def test_perplexity_has_no_scale_to_be_ranked_on(make_run, change):
    run = make_run(facts=2, forget=0.22)
    for file, value in ((run / "results.json", 900.0), (run / "results.retain.json", 12.0)):

        def surprising(results, value=value):
            results.metrics["forget/perplexity"] = Measurement(value, "lower", 40, (value - 1, value + 1))

        change(file, surprising)
    assert verdict_of(run).findings[2].status == "yes"


def test_traces_on_every_forget_set_count(make_run):
    verdict = verdict_of(make_run(suite="muse", forget=0.6))
    assert verdict.strongest.name == "ROUGE-L F1 on Forget set, continued"


# --- intervals ---


def test_the_smallest_number_of_rows_is_the_one_that_can_settle():
    assert wilson(0.0, FEW_ROWS)[1] <= NEAR_RETAIN < wilson(0.0, FEW_ROWS - 1)[1]


def test_wilson_agrees_with_a_published_example():
    """Wilson's interval of 15 in 50 (p = 0.3): [0.1910, 0.4375] in standard tables."""
    assert wilson(0.3, 50) == pytest.approx((0.1910, 0.4375), abs=5e-5)


def test_difference_agrees_with_a_published_example():
    """Newcombe (1998), table II, method 10: 56/70 - 48/80 has [0.0524, 0.3339]."""
    assert difference(56 / 70, wilson(56 / 70, 70), 48 / 80, wilson(48 / 80, 80)) == pytest.approx(
        (0.0524, 0.3339), abs=5e-5
    )


@pytest.mark.parametrize("measured", [(0.2, 0.3), (0.01, 0.99), (0.1, 0.5), (0.2, 0.7)])
def test_the_wider_of_both_ends_counts(make_run, change, measured):
    run = make_run(facts=10, retain=False)

    def edit(results):
        results.metrics["forget/fact_accuracy"] = Measurement(0.25, "lower", 40, measured)

    change(run / "results.json", edit)
    own = wilson(0.25, 40)
    found = bounds("fact_accuracy", load_comparison([run]).runs[0].metric("forget/fact_accuracy"))
    assert found == (min(own[0], measured[0]), max(own[1], measured[1]))


@pytest.mark.parametrize("few", ["forget", "holdout"])
def test_an_auc_of_few_rows_is_not_certain(make_run, change, few):
    run = make_run(facts=2, forget=0.22, member=0.0)

    def certain(results):
        results.metrics["forget/mia_loss"] = Measurement(1.0, "closer_to_reference", 43, (1.0, 1.0))

    assert verdict_of(run).findings[2].status == "yes"
    change(run / "results.json", certain)
    assert verdict_of(run).strongest.name == "membership inference by loss"

    def fewer(results):
        results.data.sets[few] = replace(results.data.sets[few], rows=3)

    for file in run.glob("results*.json"):
        change(file, fewer)
    assert verdict_of(run).findings[2].status == "yes"  # by forget quality
    assert verdict_of(run).strongest is None
