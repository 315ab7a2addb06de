"""What a scenario is, and the table it writes."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError
from expunge.files import write_json

if TYPE_CHECKING:
    from expunge.evaluation import JudgeModels

TABLE, REPORT, ASKED = "table.json", "report.html", "scenario.json"


@dataclass(frozen=True)
class TableRow:
    """A number of a scenario's table.

    Attributes:
        method: objective, and what else tells it from the others.
        metric: `<set>/<metric>`; `@3` after it: after the third task, or whatever the scenario counts.
        value: the number.
        ci95: its 95 % interval, where there is one.
        n: rows that it is from.
        seed: of world, model and training.
    """

    method: str
    metric: str
    value: float
    ci95: tuple[float, float] | None
    n: int
    seed: int


@dataclass(frozen=True)
class Sources:
    """What the full form is given, each a path or a Hub id; a scenario says which of them it takes.

    Attributes:
        model: the target model.
        data: a folder or Hub data set with every set that it needs, in its published layout.
        forget: SPEC of what is to be forgotten.
        retain: SPEC of what must stay.
        judge: a model that judges outputs.
        retain_model: trained without what is to be forgotten.
        embedding_model: of sentences, for cosine similarity.
        nli_model: a classifier, for entailment.
    """

    model: str
    data: str | None = None
    forget: str | None = None
    retain: str | None = None
    judge: str | None = None
    retain_model: str | None = None
    embedding_model: str | None = None
    nli_model: str | None = None

    @property
    def judges(self) -> "JudgeModels":
        """The two models that the closer look's own metrics need."""
        from expunge.evaluation import JudgeModels

        return JudgeModels(embedding_model=self.embedding_model, nli_model=self.nli_model)


Say = Callable[[str], None]
"""Is told about each step."""
Small = Callable[[Path, int, bool, Say], list[TableRow]]
"""Runs the small form: a folder, a seed, whether to be quiet, and who is told about each step."""
Full = Callable[[Sources, Path, int, bool, Say], list[TableRow]]
"""Runs the full form: what it is given, and the same."""


@dataclass(frozen=True)
class Scenario:
    """A scenario of a paper.

    Attributes:
        name: on the command line.
        summary: what is asked, in a line.
        paper: its arXiv number.
        differs: what is not as in the paper, in the small form.
        full_differs: the same of the full form.
        labels: the page's columns, by metric; none where the scenario writes a page of its own.
        drawn: those of them that are drawn: over the tasks where there are numbers after each, else a bar per method.
        small: the small form.
        full: the full form, on a given model and rows; None where there is none.
        takes: options of the full form, as they are typed; in brackets what may be left out.
        step: what `@3` counts.
    """

    name: str
    summary: str
    paper: str
    differs: tuple[str, ...]
    labels: Mapping[str, str]
    drawn: tuple[str, ...]
    small: Small
    full: Full | None = None
    full_differs: tuple[str, ...] = ()
    takes: str = ""
    step: str = "task"


def claim(out: Path, asked: Mapping[str, Any]) -> None:
    """Make a folder for a scenario, or go on in the one that was made for the same.

    Args:
        out: The folder.
        asked: Scenario, seed and everything else that decides what comes out.

    Raises:
        InputError: It was made for something else.
    """
    file = out / ASKED
    if file.is_file() and len(list(out.iterdir())) > 1:  # alone, it is from a request that was refused
        before = json.loads(file.read_text(encoding="utf-8"))
        if changed := [key for key in {**before, **asked} if before.get(key) != asked.get(key)]:
            was = ", ".join(f"{key} {before.get(key)}" for key in changed)
            raise InputError(f"{out} was made with {was}. Choose another --out, or ask for the same.")
    write_json(file, asked)


def learn_tiny(
    spec: str,
    out: Path,
    seed: int,
    options: Mapping[str, Any] = MappingProxyType({}),
    tokenizer: Path | None = None,
) -> None:
    """Make a model of a million parameters that learns the rows of a SPEC by heart.

    Args:
        spec: Of the rows.
        out: The model folder to make.
        seed: Of the model and its training.
        options: Of the training, beside those for tiny models.
        tokenizer: The model folder whose tokenizer to take; None: one is made for the rows.
    """
    from expunge.data import load_rows
    from expunge.training import finetune
    from expunge.worlds.new import TINY_TRAINING, new_tiny

    rows = load_rows(spec)
    model, words = new_tiny(rows, tokenizer, seed)
    finetune(model, words, rows, out, {**TINY_TRAINING, **options, "seed": seed, "use_cpu": True}, quiet=True)


def write_table(out: Path, scenario: str, rows: Sequence[TableRow]) -> None:
    """Write table.json."""
    write_json(out / TABLE, {"scenario": scenario, "rows": [asdict(row) for row in rows]})
