"""The medforget scenario: its maths on values worked out by hand, its plumbing, and a level of it for real."""

import json
import re
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from expunge.metrics import Completion, Example
from expunge.scenarios import SCENARIOS, medforget
from expunge.scenarios.hierarchy import CHOSEN, EXACT, RANK, gap, leak
from expunge.scenarios.medforget import METHODS, small
from expunge.worlds.hospital import KINDS, Shape
from expunge.worlds.hospital_rows import RUNGS, Rows, make_hospital, write_hospital


def completion(logprob):
    return Completion(np.array([logprob / 2, logprob / 2]), np.array([True, True]), ends=True)


@pytest.mark.parametrize(
    ("right", "wrong", "place", "choice"),
    [(-1, (-2, -3), 1, 1), (-2, (-1, -3), 2, 0), (-9, (-1, -3), 3, 0), (-1, (-1, -3), 1.5, 0), (-1, (-1, -1), 2, 0)],
)
def test_rank_and_choice(right, wrong, place, choice):
    example = Example("forget", answer=completion(right), wrong=tuple(map(completion, wrong)))
    assert RANK.per_example(example) == place
    assert CHOSEN.per_example(example) == choice
    assert RANK.per_example(Example("forget", answer=completion(-1.0))) is None


def test_exact_match_is_of_the_whole_answer():
    def said(text):
        return EXACT.per_example(Example("forget", generation=text, reference="It was asthma."))

    assert [said("It was asthma."), said(" it  was ASTHMA."), said("It was asthma, no."), said("")] == [1, 1, 0, 0]


def test_leak_is_above_the_retain_model_by_class_and_gap_is_retain_minus_forget():
    kinds = ("inherited", "independent")
    records = [{"class": kind, "task": task} for kind in kinds for task in ("open", "cloze", "choice", "choice")]
    mine, other = np.array([1, 1, 1, 0, 1, 0, 1, 1.0]), np.array([1, 1, 1, 1, 0, 0, 0, 1.0])
    found = leak(records, mine, other)
    assert {key: (value, n) for key, (value, _, n) in found.items()} == {
        "inherited/said": (0.0, 2),
        "inherited/choice": (-0.5, 2),
        "independent/said": (0.5, 2),
        "independent/choice": (0.5, 2),
    }
    value, (low, high), n = gap(np.array([1, 1, 1, 0.0]), np.array([0, 1.0]))
    assert (value, n) == (0.25, 2)
    assert -0.75 <= low < 0.25 < high <= 1


def test_a_model_that_answers_from_the_trees_probabilities_leaks_nothing():
    """Its expected score on each row is the sum over its answers, each as likely as the rest of the tree makes it."""
    rows = Rows(make_hospital(Shape(2, 2, 2), seed=5))
    for level in ("institution", "patient", "study", "section"):
        records = rows.files[f"forget_{level}"]
        expected = []
        for record, fact in zip(records, chain.from_iterable([f] * 3 for f in facts(rows, level)), strict=True):
            given = dict(zip(values(record["attribute"]), rows.world.given(fact, cut(rows, level)), strict=True))
            # with choices, only those can be answered
            options = [record["answer"], *record["perturbed_answer"]]
            chances = {text: next(p for value, p in given.items() if value in text) for text in options}
            total = sum(chances.values())
            examples = {t: Example("forget", generation=t, reference=record["answer"]) for t in options}
            expected.append(sum(p / total * int(EXACT.per_example(examples[t])) for t, p in chances.items()))
        given = np.array([record["probability"] for record in records])
        scores = np.array(list(map(float, expected)))
        for value, _, _ in leak(records, scores, given).values():
            assert value == 0
        knows = leak(records, np.ones(len(records)), given)
        assert knows["independent/choice"][0] == 0.75, "what is known all the same is a leak"


def cut(rows, level):
    from expunge.worlds.hospital import cut

    return cut(rows.shape, level)


def facts(rows, level):
    return rows.facts(cut(rows, level).forget)


def values(attribute):
    from expunge.worlds.hospital_words import WORDS

    return WORDS[attribute].values


def assert_table(out, levels, methods):
    table = json.loads((out / "table.json").read_text())
    assert table["scenario"] == "medforget"
    assert {tuple(row) for row in table["rows"]} == {("method", "metric", "value", "ci95", "n", "seed")}
    found = {(row["method"], row["metric"]): row["value"] for row in table["rows"]}
    for level in levels:
        for method in ("target model", "retain model", *methods):
            for metric in ("gap/score", "gap/rougeL_recall", "forget/open", "forget/section/choice", "retain/sibling"):
                assert (method, f"{level}/{metric}") in found
            for kind in KINDS:
                assert (method, f"{level}/leak/{kind}/choice") in found
                assert (method, f"{level}/leak/{kind}/said") in found
                assert (method, f"{level}/given/{kind}") in found
            for rung in RUNGS:
                for metric in ("exact_match", "rank"):
                    asked, above = (found[method, f"{level}/{n}/{metric}/{rung}"] for n in ("ladder", "ladder_leak"))
                    assert above == pytest.approx(asked - found["retain model", f"{level}/ladder/{metric}/{rung}"])
        assert all(
            value == 0
            for (method, metric), value in found.items()
            if method == "retain model" and "leak" in metric and metric.startswith(level)
        )
    html = (out / "report.html").read_text()
    assert all(method in html for method in methods)
    assert html.count("<svg") == 2 * len(levels) + (3 if len(levels) > 1 else 0)
    return found


@pytest.mark.slow
def test_the_plumbing_on_models_that_know_nothing(tmp_path, monkeypatch):
    write_hospital(tmp_path / "world", Shape(2, 2, 2), seed=0)
    monkeypatch.setattr(medforget, "LEARNING", {**medforget.LEARNING, "max_steps": 1})
    methods = {n: (o, {**s, "max_steps": min(1, s.get("max_steps", 1))}) for n, (o, s) in METHODS.items()}
    monkeypatch.setattr(medforget, "METHODS", methods)
    levels, some = ("patient", "section"), ("NPO+GD", "CHIP", "RESET")
    small(tmp_path, 0, True, print, levels, some)
    first = assert_table(tmp_path, levels, some)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.name not in ("table.json", "report.html")}
    (tmp_path / "patient" / "measured" / "CHIP.json").unlink()  # as if killed before it was measured
    small(tmp_path, 0, True, print, levels, some)
    again = assert_table(tmp_path, levels, some)
    assert {key: value for key, value in first.items() if key != ("CHIP", "patient/seconds")} == again
    now = {p: p.stat().st_mtime_ns for p in made}
    assert {p.name for p in made if made[p] != now[p]} <= {"CHIP.json", "measured", tmp_path.name}


def test_its_page_is_its_own(expunge, tmp_path, monkeypatch):
    def written(out, *_):
        (out / "report.html").write_text("its own")
        return []

    monkeypatch.setitem(SCENARIOS, "medforget", replace(SCENARIOS["medforget"], small=written))
    expunge("scenario", "medforget", "--small", "--out", tmp_path)
    assert (tmp_path / "report.html").read_text() == "its own"


def test_it_is_listed(expunge, tmp_path):
    assert re.search(r"medforget\n.*\n.*2512\.09867", expunge("scenarios").out)
    assert "--small" in expunge("scenario", "medforget", "--out", tmp_path, code=2).err


@pytest.mark.slow
def test_one_level_for_real(tmp_path):
    write_hospital(tmp_path / "world", Shape(2, 2, 2), seed=0)
    methods = ("NPO+GD", "CHIP")
    small(tmp_path, 0, True, print, ("patient",), methods)
    found = assert_table(tmp_path, ("patient",), methods)

    def value(method, metric):
        return found[method, f"patient/{metric}"]

    assert value("target model", "forget/score") > 0.9
    assert value("target model", "leak/independent/choice") > 0.5
    assert value("retain model", "retain/score") > 0.9
    assert value("retain model", "gap/score") > 0.5
    assert value("NPO+GD", "forget/score") < value("target model", "forget/score") - 0.3
    assert value("NPO+GD", "gap/score") > value("target model", "gap/score") + 0.3
