"""Files of sweeps over tiny models."""

import csv

import pytest
import yaml

TRAIN = {"num_train_epochs": 2, "gradient_accumulation_steps": 1, "learning_rate": 1.0e-2, "use_cpu": True}


@pytest.fixture
def sweep_file(model_folder, data, tmp_path):
    """Write a sweep's file; keys may be changed, or left out by None."""

    def write(name="trial.yaml", **changes):
        values = {
            "model": str(model_folder),
            "forget": str(data / "forget.jsonl"),
            "retain": str(data / "retain.jsonl"),
            "suite": "own",
            "objectives": ["NPO+GD", "IDK+GD"],  # GA would stop at once: the model knows nothing
            "seeds": [0, 1],
            "train": TRAIN,
        } | changes
        file = tmp_path / name
        file.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}, sort_keys=False))
        return file

    return write


@pytest.fixture
def rows_of():
    """The rows of one of a sweep's CSV files."""

    def read(file):
        with file.open(newline="") as stream:
            return list(csv.DictReader(stream))

    return read
