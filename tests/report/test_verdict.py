"""The verdict follows from intervals, and is withheld where the evidence is missing."""

from dataclasses import replace

import pytest

from expunge.evaluation.results.paired import utility_share
from expunge.metrics.bootstrap import wilson
from expunge.report.load import load_comparison
from expunge.report.verdict import FEW_ROWS, NEAR_RETAIN, judge
from signed import change


def verdict_of(run):
    comparison = load_comparison([run])
    return judge(comparison.runs[0], comparison.target, comparison.retain)


def forgetting(run):
    return verdict_of(run).findings[0]


def told(finding):
    return " ".join((finding.answer, *finding.evidence, *finding.limits)).replace("\N{NO-BREAK SPACE}", " ")


def test_forgotten_and_kept(make_run):
    verdict = verdict_of(make_run(facts=2))
    assert verdict.status == "yes"
    assert verdict.headline == "The forget set's answers are no longer produced. The rest is kept."
    text = told(verdict.findings[0])
    assert "Fact accuracy on the forget set: 5 % [" in text
    assert "retain model 10 % [" in text
    assert "target 100 % [100, 100], n = 40" in text
    assert "quantisation" in text


def test_still_produced(make_run):
    finding = forgetting(make_run(facts=20))
    assert finding.status == "no"
    assert finding.answer == "The forget set's answers are still produced."


def test_between_the_two_nothing_is_settled(make_run):
    finding = forgetting(make_run(facts=8))  # 20 % of rows, at the line itself
    assert finding.status == "open"
    assert "the answers look gone, but fact accuracy may be up to 34.8 %, at most 20 % would do" in told(finding)


def test_few_rows_do_not_settle_even_a_perfect_count(tmp_path, make_results, make_run):
    run = make_run(facts=0, rows=20)
    make_results(run / "results.retain.json", facts=0, rows=20, fingerprint="weights-r")
    finding = forgetting(run)
    assert finding.status == "open"
    assert "Only 20 rows" in told(finding)
    assert "Wilson's interval [0, 16.1] %" in told(finding)


def test_the_smallest_number_of_rows_is_the_one_that_can_settle():
    assert wilson(0.0, FEW_ROWS)[1] <= NEAR_RETAIN < wilson(0.0, FEW_ROWS - 1)[1]


def test_nothing_is_said_where_the_target_did_not_know(make_run, make_results):
    run = make_run(facts=0)
    make_results(run / "results.target.json", facts=3, fingerprint="weights-t")
    finding = forgetting(run)
    assert finding.status == "open"
    assert "did not know the forget set" in finding.answer


def test_without_a_retain_model_forgotten_is_never_said(make_run):
    verdict = verdict_of(make_run(facts=0, retain=False, quality=None))
    assert verdict.status == "open"
    assert "whether they are gone cannot be said" in verdict.findings[0].answer
    assert "No retain model was measured" in told(verdict.findings[0])
    assert verdict.findings[2].status == "open"
    assert "no retain model was given" in verdict.findings[2].answer


def test_without_a_retain_model_no_fall_is_still_said(make_run):
    finding = forgetting(make_run(facts=39, retain=False))
    assert finding.status == "no"
    assert "did not measurably become rarer" in finding.answer


def test_without_a_target_kept_is_never_said(make_run):
    verdict = verdict_of(make_run(facts=0, target=False))
    assert verdict.findings[1].status == "open"
    assert "no target model was measured" in verdict.findings[1].answer
    assert "No target model was measured" in told(verdict.findings[0])


def test_alone_nothing_is_said(make_run):
    verdict = verdict_of(make_run(target=False, retain=False, quality=None))
    assert {finding.status for finding in verdict.findings} == {"open"}
    assert "neither target nor retain model has fact accuracy measured" in verdict.findings[0].answer


def test_without_facts_words_and_their_probability_lead(make_run):
    gone = forgetting(make_run("gone", with_facts=False, forget=0.2))
    assert gone.status == "yes"
    assert "ROUGE-L recall on the forget set" in told(gone)
    assert "Probability on the forget set" in told(gone)
    assert forgetting(make_run("there", with_facts=False, forget=0.6)).status == "no"


def test_traces_that_other_metrics_show_are_said(make_run):
    finding = forgetting(make_run(facts=1, forget=0.6))
    assert finding.status == "yes"
    assert "other measurements still show traces" in finding.answer
    assert "hidden rather than gone" in told(finding)


@pytest.mark.parametrize(("kept", "status"), [(0.89, "yes"), (0.81, "open"), (0.5, "no")])
def test_utility_is_judged_by_its_paired_interval(make_run, kept, status):
    finding = verdict_of(make_run(facts=1, kept=kept)).findings[1]
    assert finding.status == status
    assert "Paired over the same rows" in told(finding)


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


@pytest.mark.parametrize(("quality", "status"), [(0.4, "yes"), (0.001, "no")])
def test_likeness_follows_forget_quality_with_n_and_distance(make_run, make_results, quality, status):
    run = make_run(facts=4, forget=0.22, quality=quality)
    finding = verdict_of(run).findings[2]
    assert finding.status == status
    assert "n = 40 rows, KS distance 0.21" in told(finding)


def test_far_below_the_retain_model_is_a_trace_too(make_run):
    finding = verdict_of(make_run(facts=0, forget=0.02, quality=0.4)).findings[2]
    assert finding.status == "no"
    assert "the gap itself can show that something was erased" in told(finding)


@pytest.mark.parametrize(("leak", "interval", "status"), [(-60.0, [-80, -40], "no"), (3.0, [-8, 14], "yes")])
def test_a_privacy_leak_tells_models_apart(make_run, leak, interval, status):
    run = make_run(facts=4, forget=0.22)
    file = run / "results.json"
    attack = {"value": 0.8, "ci95": [0.7, 0.9], "n": 80, "better": "closer_to_reference"}

    def leaking(results):
        results["summary"]["privleak"], results["summary_ci95"]["privleak"] = leak, interval
        results["metrics"]["forget/mia_min_k"] = attack

    change(file, leaking)
    finding = verdict_of(run).findings[2]
    assert finding.status == status
    assert ("Privacy leak: -60.00 [-80.00, -40.00], n = 80" in told(finding)) == (status == "no")
