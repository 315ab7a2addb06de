"""The hospital world: its cuts, and its probabilities by enumerating every world that could have been drawn."""

import json
from collections import defaultdict
from fractions import Fraction

import pytest

from expunge.data import configurations, load_rows
from expunge.errors import InputError
from expunge.worlds import hospital
from expunge.worlds.hospital import ATTRIBUTES, KINDS, LEVELS, Fact, Hospital, Shape, cut, draw, make_hospital
from expunge.worlds.hospital_rows import RUNGS, TASKS, Rows, write_hospital
from expunge.worlds.hospital_words import WORDS

FEW = ("scanner", "condition", "summary", "device", "complaint", "finding", "diagnosis")
"""At least one of each class, and what they are drawn from."""


def every_world(shape):
    """Every world that can be drawn, with its probability: each choice of the generator goes each way it can."""
    unfinished = [((), Fraction(1))]
    while unfinished:
        path, weight = unfinished.pop()
        taken = iter(path)

        def choose(chances, path=path, weight=weight, taken=taken):
            assert sum(chances) == 1
            if (known := next(taken, None)) is not None:
                return known
            unfinished.extend(((*path, i), weight * chance) for i, chance in enumerate(chances) if chance)
            raise StopIteration

        try:
            values = draw(shape, range(shape.institutions), choose)
        except StopIteration:
            continue
        yield Hospital(shape, 0, values), weight


@pytest.fixture(params=[(1, 1, 1, 2, None), (1, 1, 2, 3, FEW[1:]), (1, 2, 1, 2, FEW), (2, 1, 1, 2, FEW)], ids=str)
def shape(request, monkeypatch):
    """Trees small enough to be enumerated; most of them with fewer attributes."""
    *sizes, names = request.param
    if names:
        kept = {name: ATTRIBUTES[name] for name in names if (ATTRIBUTES[name].source or name) in names}
        monkeypatch.setattr(hospital, "ATTRIBUTES", kept)
    return Shape(*sizes)


def test_what_the_rest_of_the_tree_gives_is_exact(shape):
    worlds = list(every_world(shape))
    assert sum(weight for _, weight in worlds) == 1
    seen = set()
    for level in LEVELS:
        of = cut(shape, level)
        forgotten = [fact for fact in worlds[0][0].values if of.relation(fact.node) == "forget"]
        told = defaultdict(list)  # worlds that look the same where nothing is forgotten
        for world, weight in worlds:
            rest = tuple(value for fact, value in world.values.items() if fact not in forgotten)
            told[rest].append((world, weight))
        for alike in told.values():
            total = sum(weight for _, weight in alike)
            for fact in forgotten:
                for value, claimed in enumerate(alike[0][0].given(fact, of)):
                    found = sum(weight for world, weight in alike if world.values[fact] == value)
                    assert claimed == found / total, (level, fact, value)
                    seen.add((fact.kind, claimed))
    assert len({chance for kind, chance in seen if kind == "correlated"}) > 2
    assert (("inherited", Fraction(1)) in seen) == ("device" in hospital.ATTRIBUTES)
    if shape.studies > 1:
        assert ("repeated", Fraction(1)) in seen


def test_only_what_hangs_together_can_be_guessed():
    world = make_hospital(seed=3)
    for level in LEVELS:
        of = cut(world.shape, level)
        for fact in world.values:
            if of.relation(fact.node) != "forget":
                continue
            best = max(world.given(fact, of))
            source = fact.source
            if source is None or of.relation(source.node) == "forget":
                assert best == Fraction(1, world.shape.values)
            else:
                # three quarters, and an eighth of the other quarter
                assert best == (Fraction(25, 32) if fact.kind == "correlated" else 1)


def test_each_level_has_a_cut_an_equal_part_never_learned_and_the_rest_by_relation(tmp_path):
    write_hospital(tmp_path / "a", seed=1)
    full = {row.key for row in load_rows(f"{tmp_path / 'a'}:full")}
    assert len(full) == 3 * (4 * (2 + 3 * (3 + 2 * 7)))
    sizes = {"institution": 53, "patient": 17, "study": 7, "section": 6}
    for level, facts in sizes.items():
        parts = {name: load_rows(f"{tmp_path / 'a'}:{name}_{level}") for name in ("forget", "retain", "holdout")}
        keys = {name: {row.key for row in rows} for name, rows in parts.items()}
        assert keys["forget"] | keys["retain"] == full
        assert not keys["forget"] & keys["retain"]
        assert not keys["holdout"] & full
        assert len(parts["forget"]) == len(parts["holdout"]) == 3 * facts
        kinds = [[row.columns["attribute"] for row in parts[name]] for name in ("forget", "holdout")]
        assert kinds[0] == kinds[1]
        assert {row.columns["relation"] for row in parts["forget"]} == {"forget"}
        named = {(r.columns["level"], r.columns["relation"]) for r in parts["retain"]}
        above = {(higher, "ancestor") for higher in LEVELS[: LEVELS.index(level)]}
        # the sections of one kind each are of several studies: there are siblings of all of them
        assert above <= named
        assert (level, "sibling") in named
        assert not {(lower, "ancestor") for lower in LEVELS[LEVELS.index(level) :]} & named
        assert {row.columns["class"] for row in parts["forget"]} == set(KINDS)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_hospital(tmp_path / name, Shape(1, 1, 1), seed)
    read = {name: {f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "abc"}
    assert read["a"] == read["b"] != read["c"]
    assert sorted(configurations(tmp_path / "a")) == sorted(file.stem for file in (tmp_path / "a").glob("*.json"))


def test_every_fact_is_asked_for_in_three_ways():
    rows = Rows(make_hospital(seed=2))
    records = rows.files["forget_patient"]
    assert [record["task"] for record in records] == list(TASKS) * (len(records) // 3)
    for record in records:
        assert record["fact"] in record["answer"]
        assert len(record["perturbed_answer"]) == (3 if record["task"] == "choice" else 7)
        assert not any(record["fact"] in wrong for wrong in record["perturbed_answer"])
        if record["task"] == "choice":
            assert all(option in record["question"] for option in [record["answer"], *record["perturbed_answer"]])
        else:
            assert record["fact"] not in record["question"]
    names = {record["node"] for record in records}
    assert len({name for name in names if name.count(" / ") == 3}) == 8
    by_task = {(r["class"], r["task"], r["probability"]) for r in rows.files["forget_study"]}
    assert {("independent", "open", 1 / 8), ("independent", "choice", 1 / 4), ("inherited", "cloze", 1.0)} <= by_task
    chances = {chance for kind, task, chance in by_task if (kind, task) == ("correlated", "choice")}
    # 25/32 against three times 1/32; the same among the options; nothing typical among them
    assert chances <= {25 / 28, 1 / 28, 1 / 4}


@pytest.mark.slow
def test_the_ladder_tells_more_from_rung_to_rung_and_nothing_that_is_forgotten():
    rows = Rows(make_hospital(seed=4))
    for level in LEVELS:
        of = cut(rows.shape, level)
        ladder = rows.files[f"ladder_{level}"]
        for start in range(0, len(ladder), len(RUNGS)):
            rungs = ladder[start : start + len(RUNGS)]
            assert [row["rung"] for row in rungs] == list(RUNGS)
            assert len({row["answer"] for row in rungs}) == 1
            lengths = [len(row["question"]) for row in rungs]
            assert lengths == sorted(set(lengths))
            assert all(row["question"].endswith(rungs[0]["question"]) for row in rungs)
            institution, patient, _ = rungs[0]["node"].split(" / ")[:3]
            assert institution in rungs[1]["question"]
            assert patient in rungs[2]["question"]
            assert patient not in rungs[1]["question"]
        for fact in rows.facts(of.forget):
            if len(fact.node) == 4:
                beside = rows.siblings(fact, of)
                assert {of.relation(node) for node in beside} == {"sibling"}
                assert all(node[3] == fact.node[3] for node in beside) or level == "section"


def test_no_value_is_part_of_another():
    assert set(WORDS) == set(ATTRIBUTES)
    for words in WORDS.values():
        assert len(set(words.values)) == 8
        assert not any(a != b and a in b for a in words.values for b in words.values)
    for name, attribute in ATTRIBUTES.items():
        if attribute.kind in ("inherited", "repeated"):
            assert WORDS[name].values == WORDS[attribute.source].values


def test_a_shape_that_is_none_is_refused():
    for sizes in ((0, 1, 1), (1, 1, 0), (1, 1, 1, 1), (1, 1, 1, 9)):
        with pytest.raises(InputError, match="hospital world"):
            Shape(*sizes)


def test_folder_loads_with_datasets(tmp_path):
    from datasets import load_dataset

    write_hospital(tmp_path / "world", Shape(1, 1, 1))
    data = load_dataset(str(tmp_path / "world"), "forget_study", split="train", cache_dir=str(tmp_path / "cache"))
    lines = (tmp_path / "world" / "forget_study.json").read_text().splitlines()
    assert list(data) == [json.loads(line) for line in lines]


def test_a_fact_knows_what_it_is_drawn_from():
    assert Fact((1, 2, 0, 3), "diagnosis").source == Fact((1, 2), "summary")
    assert Fact((1, 2, 1, 3), "diagnosis").source is None
    assert Fact((1, 2, 1, 0), "device").source == Fact((1,), "scanner")
    assert Fact((1, 2, 1, 2), "finding").kind == "correlated"
