"""A killed evaluation goes on where it was, with the same numbers; parts of anything else are thrown away."""

import pytest

from evaluation.tiny import evaluate, question_rows, tiny_model
from expunge.data import Row
from expunge.evaluation.passes import run
from thinned import thinned


class Killed(BaseException):
    """Stands for the kill; nothing catches it."""


@pytest.fixture
def data(sets):
    return sets | {"holdout": question_rows(["city", "red"])}


@pytest.fixture
def seen(monkeypatch) -> dict[str, int]:
    """How many rows, gradients and prompts were really run, by stage; `limit` kills after so many batches."""
    counts = {"score": 0, "gradient_norms": 0, "generate": 0, "batches": 0, "limit": 10**9}

    def watch(stage: str) -> None:
        real = getattr(run, stage)

        def watched(*args):
            for batch in real(*args):
                counts["batches"] += 1
                counts[stage] += len(batch) if isinstance(batch, list) else 1
                yield batch
                if counts["batches"] >= counts["limit"]:
                    raise Killed

        monkeypatch.setattr(run, stage, watched)

    for stage in ("score", "gradient_norms", "generate"):
        watch(stage)
    return counts


def killed(seen, after: int, model, tokenizer, data, out) -> dict[str, int]:
    """Run until `after` batches are measured; the counts of what was measured before the kill."""
    seen.update(score=0, gradient_norms=0, generate=0, batches=0, limit=after)
    with pytest.raises(Killed):
        evaluate(model, tokenizer, data=data, out=out, batch_tokens=30)
    seen["limit"] = 10**9
    return {stage: seen[stage] for stage in ("score", "gradient_norms", "generate")}


def assert_same(found, expected) -> None:
    """Answers alike, numbers alike up to the rounding of other batches."""
    for name in expected.table.column_names:
        ours, theirs = (table[name].to_pylist() for table in (found.table, expected.table))
        if name in ("set", "index", "question", "answer", "generation"):
            assert ours == theirs
        else:
            assert [v is None for v in ours] == [v is None for v in theirs]
            assert [v for v in ours if v is not None] == pytest.approx([v for v in theirs if v is not None], rel=1e-4)
    assert list(found.metrics) == list(expected.metrics)


@pytest.mark.parametrize("after", thinned([1, 7, 14], 7))
def test_a_killed_evaluation_is_continued(model, tokenizer, data, tmp_path, seen, after) -> None:
    whole = evaluate(model, tokenizer, data=data, batch_tokens=30)
    total = dict(seen)
    assert total["batches"] > after + 1
    out = tmp_path / "results.json"
    done = killed(seen, after, model, tokenizer, data, out)
    assert not out.exists()
    assert (tmp_path / "results.parts").is_dir()
    seen.update(score=0, gradient_norms=0, generate=0)
    resumed = evaluate(model, tokenizer, data=data, out=out, batch_tokens=30)
    for stage in done:
        assert seen[stage] == total[stage] - done[stage]
    assert_same(resumed, whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.examples.parquet", "results.json"]


def test_a_stream_cut_in_the_middle_is_read_up_to_there(model, tokenizer, data, tmp_path, seen) -> None:
    out = tmp_path / "results.json"
    done = killed(seen, 6, model, tokenizer, data, out)
    [stream] = (tmp_path / "results.parts").glob("*.arrows")
    stream.write_bytes(stream.read_bytes()[:-100])
    seen.update(score=0)
    resumed = evaluate(model, tokenizer, data=data, out=out)
    assert seen["score"] > 0
    assert_same(resumed, evaluate(model, tokenizer, data=data))
    assert done["score"] > 0


@pytest.mark.parametrize("changed", ["an answer", "the order"])
def test_parts_of_other_rows_are_not_used(model, tokenizer, data, tmp_path, seen, changed) -> None:
    """As many rows as before: parts are named by positions, which are the same."""
    rows = data["forget"]
    other = rows[::-1] if changed == "the order" else [Row(rows[0].turns, "a red book", rows[0].columns), *rows[1:]]
    out = tmp_path / "results.json"
    killed(seen, 14, model, tokenizer, data, out)
    found = evaluate(model, tokenizer, data=data | {"forget": other}, out=out)
    assert_same(found, evaluate(model, tokenizer, data=data | {"forget": other}))


def test_parts_of_another_model_are_not_used(tokenizer, data, tmp_path, seen) -> None:
    out = tmp_path / "results.json"
    killed(seen, 6, tiny_model(), tokenizer, data, out)
    other = evaluate(tiny_model(3), tokenizer, data=data, out=out)
    assert_same(other, evaluate(tiny_model(3), tokenizer, data=data))
