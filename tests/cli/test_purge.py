"""What `expunge purge` deletes, and what it keeps."""

import pytest

from expunge.cli.purge import purge
from expunge.errors import InputError


@pytest.fixture
def run(tmp_path):
    """A finished run and, beside it, what is left of one that was killed."""
    folder = tmp_path / "run"
    kept = ("model/model.safetensors",)
    for name in (*kept, "reference/hidden.bin", "checkpoint-4/model.safetensors", "results.parts/0000-000000.arrows"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("results.json", "results.examples.parquet", "results.target.examples.parquet", "recipe.yaml"):
        (folder / name).touch()
    (folder / ".results.examples.parquet.0123456789ab.tmp").touch()
    (tmp_path / "run.unfinished" / "checkpoint-2").mkdir(parents=True)
    return folder


def test_texts_caches_and_checkpoints_go_and_numbers_stay(run, capsys):
    purge([run], dry_run=True)
    assert (run / "reference").exists()
    purge([run], dry_run=False)
    assert sorted(path.name for path in run.iterdir()) == ["model", "recipe.yaml", "results.json"]
    assert not run.with_name("run.unfinished").exists()
    purge([run], dry_run=False)
    assert "nothing to delete" in capsys.readouterr().out


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no run there"):
        purge([tmp_path / "nowhere"], dry_run=False)
