"""Target, unlearned and retain model in folders, with their rows, for the command line."""

import json

import pytest

import tinymodels as tiny
from attacks.small import PEOPLE, UNSEEN, learned, suppressed, words


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """One that knows, one that refuses, one that never knew; and the rows of all."""
    home = tmp_path_factory.mktemp("attacked")
    models = {
        "target": learned(PEOPLE + tiny.RETAIN),
        "unlearned": suppressed(PEOPLE + tiny.RETAIN),
        "retain": learned(tiny.RETAIN),
    }
    for name, model in models.items():
        model.save_pretrained(home / name)
        words().save_pretrained(home / name)
    for name, rows in (("forget", PEOPLE), ("keep", tiny.RETAIN), ("holdout", UNSEEN)):
        lines = [json.dumps({"question": r.prompt, "answer": r.completion, **r.columns}) for r in rows]
        (home / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return home
