"""Rows with pictures from the command line: fine-tune, unlearn, evaluate."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tinyvision as vision
from expunge.data.processors import tokenizer_of
from expunge.models import load_model, save_tokenizer

QUICK = ("train.use_cpu=true", "train.num_train_epochs=1", "train.save_strategy=no")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model folder and the rows as Parquet."""
    folder = tmp_path_factory.mktemp("pictures")
    model, processor = vision.llava()
    model.save_pretrained(folder / "model")
    save_tokenizer(tokenizer_of(processor), folder / "model")
    for name, rows in (("forget", vision.FORGET[:3]), ("retain", vision.RETAIN)):
        records = []
        for row in rows:
            pictures = row.turns[0].pictures
            image = {"bytes": pictures[0].data, "path": None} if pictures else None
            records.append({"question": row.prompt, "answer": row.completion, "image": image})
        pq.write_table(pa.Table.from_pylist(records), folder / f"{name}.parquet")
    return folder


def test_unlearn_with_an_adapter_then_measure(place, tmp_path, expunge):
    sets = ("--model", place / "model", "--forget", place / "forget.parquet", "--retain", place / "retain.parquet")
    run = tmp_path / "run"
    expunge("unlearn", *sets, "--objective", "NPO+GD", "--out", run, "--quiet", "lora.r=2", *QUICK)
    assert (run / "adapter" / "processor_config.json").is_file()
    out = tmp_path / "results.json"
    expunge("eval", "--suite", "own", "--model", run, "--data", place / "forget.parquet", "--out", out)
    results = json.loads(out.read_text())
    assert results["data"]["sets"]["forget"]["rows"] == 3
    assert results["metrics"]["forget/probability"]["n"] == 3
    expunge("merge", run, "--out", tmp_path / "whole")
    expunge("eval", "--suite", "own", "--model", tmp_path / "whole", "--data", place / "forget.parquet", "--out", out)
    merged = json.loads(out.read_text())["metrics"]["forget/probability"]["value"]
    assert merged == pytest.approx(results["metrics"]["forget/probability"]["value"], rel=1e-4)


def test_finetune_a_new_model_on_pictures(place, tmp_path, expunge):
    expunge(
        "finetune", "--init", "tiny", "--data", place / "forget.parquet", "--out", tmp_path / "new", "--quiet", *QUICK
    )
    model, _ = load_model(tmp_path / "new")
    assert model.config.model_type == "llava"


def test_a_broken_picture_is_named(place, tmp_path, expunge):
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"question": "Who?", "answer": "Ada.", "image": "nobody.png"}) + "\n"
    )
    words = ("unlearn", "--model", place / "model", "--forget", tmp_path / "rows.jsonl", "--out", tmp_path / "run")
    assert "rows.jsonl, row 0: column 'image': there is no picture 'nobody.png'" in expunge(*words, code=2).err


def test_a_text_model_refuses_pictures(place, model_folder, tmp_path, expunge):
    sets = ("--forget", place / "forget.parquet", "--retain", place / "retain.parquet")
    found = expunge("unlearn", "--model", model_folder, *sets, "--out", tmp_path / "run", code=2)
    assert "forget set, row 0: A row with a picture, and this model takes none" in found.err
