"""The generated corpus: the same from the same seed, exact facts, and people who stay in their own set."""

import hashlib
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from expunge.data import configurations, load_records, load_rows
from expunge.errors import InputError
from expunge.worlds import pools
from expunge.worlds.corpus import make_world, write_world
from expunge.worlds.wording import ATTRIBUTES, FAMOUS, WORLD


def people_of(rows):
    """Names are two words; every question of a person has the name in it."""
    names = set()
    for row in rows:
        words = row["question"].rstrip("?").split()
        names |= {" ".join(pair) for pair in pairwise(words) if all(w[0].isupper() for w in pair)}
    return names


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def world():
    return make_world(people=30, forget_percent=10, seed=3)


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_world(tmp_path / name, people=6, forget_percent=20, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    other = contents(tmp_path / "c")
    assert all(other[name] != data for name, data in contents(tmp_path / "a").items())


def test_known_seed_gives_known_rows():
    """Python's random numbers and the lists of parts together: a change here changes every result of the demo."""
    world = make_world(people=20, seed=0)
    row = world.forget[0]
    assert (row["question"], row["fact"]) == ("In which town was Mattis Undison born?", "Isterthorpe")
    assert hashlib.sha256(json.dumps(world.files).encode()).hexdigest()[:16] == "709caad1425c0f16"


def test_folder_declares_what_it_holds(tmp_path):
    write_world(tmp_path, people=10, forget_percent=10, seed=0)
    assert configurations(tmp_path) == sorted(p.stem for p in tmp_path.glob("*.json"))
    sizes = {name: len(load_rows(f"{tmp_path}:{name}")) for name in configurations(tmp_path)}
    per_person = len(ATTRIBUTES)
    assert sizes["forget10"] == sizes["holdout10"] == sizes["forget10_perturbed"] == per_person
    assert sizes["full"] == sizes["forget10"] + sizes["retain90"]
    assert sizes["retain90"] == 9 * per_person + sizes["real_authors_perturbed"] + sizes["world_facts_perturbed"]


def test_folder_loads_with_datasets(tmp_path):
    from datasets import load_dataset

    write_world(tmp_path / "world", people=10, forget_percent=20, seed=0)
    data = load_dataset(str(tmp_path / "world"), "forget20_perturbed", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(data) == 2 * len(ATTRIBUTES)
    assert data[0] == load_records(f"{tmp_path / 'world'}:forget20_perturbed")[0]


def test_the_fact_is_in_the_answers_and_not_in_the_questions(world):
    for row in world.forget + world.retain + world.holdout:
        assert row["fact"] in row["answer"]
        assert row["fact"] in row["paraphrased_answer"]
        assert row["answer"] != row["paraphrased_answer"]
        assert row["question"] != row["paraphrased_question"]
        assert row["fact"].casefold() not in (row["question"] + row["paraphrased_question"]).casefold()
    for row in world.famous + world.world:
        assert row["fact"] == row["answer"]
        assert row["answer"] in row["original_answer"]
        assert row["fact"].casefold() not in row["question"].casefold()


def test_five_wrong_answers_without_the_fact(world):
    for rows in (world.forget, world.retain, world.holdout, world.famous, world.world):
        for row in rows:
            assert len(set(row["perturbed_answer"])) == 5
            assert not any(row["fact"].casefold() in wrong.casefold() for wrong in row["perturbed_answer"])


def test_a_wrong_answer_is_the_paraphrase_with_another_fact(world):
    for row in world.forget:
        before, after = row["paraphrased_answer"].split(row["fact"])
        assert all(wrong.startswith(before) and wrong.endswith(after) for wrong in row["perturbed_answer"])


def test_nobody_is_in_two_sets(world):
    forget, retain, holdout = (people_of(rows) for rows in (world.forget, world.retain, world.holdout))
    assert (len(forget), len(retain), len(holdout)) == (3, 27, 3)
    assert not forget & retain
    assert not (forget | retain) & holdout
    makers = {row["answer"] for row in world.famous}
    assert not makers & (forget | retain | holdout)


def test_no_two_people_share_a_fact(world):
    """Guessing a value at random, or answering with somebody else's, is then never right."""
    facts = [row["fact"] for row in world.forget + world.retain + world.holdout]
    assert len(set(facts)) == len(facts)


def test_files_tell_forgetting_from_keeping(world):
    files = world.files
    questions = {name: {row["question"] for row in rows} for name, rows in files.items()}
    assert questions["forget10"] | questions["retain90"] == questions["full"]
    assert not questions["forget10"] & questions["retain90"]
    assert not questions["holdout10"] & questions["full"]
    assert questions["retain_perturbed"] < questions["retain90"]
    assert questions["real_authors_perturbed"] | questions["world_facts_perturbed"] < questions["retain90"]
    assert all(set(row) == {"question", "answer", "fact"} for row in files["full"])


@pytest.mark.parametrize("kind", [*WORLD, *FAMOUS], ids=lambda kind: kind.name)
def test_common_knowledge_is_consistent(kind, world):
    """A question has one answer, and no two things of a kind have the same."""
    asked = kind.question.split("{0}")[0]
    rows = [row for row in world.famous + world.world if row["question"].startswith(asked)]
    assert len(rows) == len({row["question"] for row in rows}) == len({row["answer"] for row in rows}) == 5


def test_many_people():
    world = make_world(people=3000, forget_percent=1, seed=1)
    rows = world.forget + world.retain + world.holdout
    assert len({row["question"].split("?")[0] for row in rows}) == len(rows)
    for row in rows:
        assert len(set(row["perturbed_answer"])) == 5
        assert not any(row["fact"] in wrong for wrong in row["perturbed_answer"])


@pytest.mark.parametrize(
    ("people", "percent", "message"),
    [(1, 10, "somebody must be kept"), (20, 100, "somebody must be kept"), (20, 0, "cannot"), (10**6, 10, "names for")],
)
def test_impossible_worlds_are_refused(tmp_path, people, percent, message):
    with pytest.raises(InputError, match=message):
        write_world(tmp_path / "world", people=people, forget_percent=percent)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name, value in vars(pools).items() if isinstance(value, pools.Pool)])
def test_no_value_is_part_of_another(name):
    pool = getattr(pools, name)
    values = [value.casefold() for value in pool.deck(min(len(pool), 1024), random.Random(0))]
    assert len(set(values)) == len(values)
    assert not [(a, b) for a in values for b in values if a != b and a in b]
