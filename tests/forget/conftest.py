import json

import pytest

from forget.small import FORGET, RETAIN, learned, save


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A target that knows both sets, a retain model, and the rows."""
    folder = tmp_path_factory.mktemp("verified")
    save(learned(FORGET + RETAIN, 150, learned(FORGET + RETAIN, 300), 1e-3), folder / "target")
    save(learned(RETAIN, 250), folder / "retain")
    for name, rows in (("forget", FORGET), ("few", FORGET[:3]), ("keep", RETAIN)):
        lines = [json.dumps({"question": r.prompt, "answer": r.completion, **r.columns}) for r in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder
