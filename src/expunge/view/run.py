"""A run as it is shown: its report, its rows with what was said before and after, its place among its siblings."""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.evaluation.results.comparable import check_comparable
from expunge.evaluation.results.schema import load_results
from expunge.report.charts import plane
from expunge.report.comparison import Comparison, Example, RunResult
from expunge.report.load import load_comparison, results_file
from expunge.report.page import render
from expunge.report.redaction import redact
from expunge.report.words import set_label, wording
from expunge.runs import RECIPE, RESULTS, VERDICT, companion_path, is_redacted, table_path

MOST_SIBLINGS = 24
"""More names than this cannot be told apart in the figure."""
PAGE = 25  # rows that are sent at a time
CONDITION = re.compile(r"(\w+)\s*(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)")
COMPARE = {">=": ge, "<=": le, ">": gt, "<": lt}


@dataclass(frozen=True)
class Shown:
    """A row of the table of examples with every model's answer and scores.

    Attributes:
        set: its set's name, and what it is called.
        index: in the set.
        prompt: what was asked.
        answer: the right one.
        answers: by model ("before", "after", "retain model"): what it said, None where it was not asked.
        values: by metric and model.
    """

    set: str
    label: str
    index: int
    prompt: str
    answer: str
    answers: Mapping[str, str | None]
    values: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """As the page gets it; metrics have labels."""
        return {**vars(self), "labels": {metric: wording(metric).label for metric in self.values}}


class ViewedRun:
    """A measured run; files are read when they are needed, and again when they have changed.

    Args:
        run: the run folder.
        hidden: whether texts of forget sets and names are hidden, as in a redacted report; they always are where the
            run's own report is one.

    Raises:
        InputError: it has not been measured.
    """

    def __init__(self, run: Path, hidden: bool = False) -> None:
        self.results = results_file(run)
        self.folder = self.results.parent
        self.hidden = hidden or is_redacted(self.folder)
        self._reading = threading.RLock()  # matplotlib's settings are global
        self._read: tuple[Any, Comparison] | None = None
        self._found: tuple[Comparison, list[Shown]] | None = None

    @property
    def name(self) -> str:
        """What the page is about."""
        return "a run" if self.hidden else self.folder.resolve().name

    @property
    def target(self) -> str | None:
        """The model before unlearning, as the run's recipe names it."""
        return self.comparison().runs[0].recipe.get("model")

    def comparison(self) -> Comparison:
        """The run, with target and retain model where they were measured."""
        with self._reading:
            files = [self.results, *(companion_path(self.results, role) for role in ("target", "retain"))]
            files += [*map(table_path, files), self.folder / RECIPE, self.folder / VERDICT]
            seen = [file.stat().st_mtime_ns if file.is_file() else None for file in files]
            if self._read is None or self._read[0] != seen:
                self._read = seen, load_comparison([self.results])
            return self._read[1]

    def report(self) -> str:
        """The report as HTML."""
        with self._reading:
            return render(self.comparison(), self.hidden)

    def rows(self, words: str, set_name: str, start: int) -> dict[str, Any]:
        """Rows that have all the words in a text, and meet all conditions on the unlearned model's values.

        Args:
            words: e.g. `ada prize probability>0.5`.
            set_name: of one set; empty: of all.
            start: how many were sent before.

        Returns:
            "total" and "found" numbers of rows, "sets" (name, label) and the next "rows".
        """
        rows = self._rows()
        conditions = [(name, COMPARE[sign], float(number)) for name, sign, number in CONDITION.findall(words)]
        texts = CONDITION.sub(" ", words).casefold().split()
        for name, *_ in conditions:
            if not any(name in row.values for row in rows):
                known = ", ".join(sorted({metric for row in rows for metric in row.values}))
                raise InputError(f"There is no value {name!r}. There is: {known}.")
        found = [
            row
            for row in rows
            if set_name in ("", row.set)
            and all(text in _text_of(row) for text in texts)
            and all(
                name in row.values and "after" in row.values[name] and compare(row.values[name]["after"], number)
                for name, compare, number in conditions
            )
        ]
        return {
            "total": len(rows),
            "found": len(found),
            "sets": list(dict.fromkeys((row.set, row.label) for row in rows)),
            "rows": [row.to_json() for row in found[start : start + PAGE]],
            "next": start + PAGE if start + PAGE < len(found) else None,
        }

    def _rows(self) -> list[Shown]:
        """All rows; the same, digests of hidden texts too, until the files change."""
        with self._reading:
            comparison = self.comparison()
            if self._found is None or self._found[0] is not comparison:
                self._found = comparison, self._rows_of(redact(comparison) if self.hidden else comparison)
            return self._found[1]

    def _rows_of(self, comparison: Comparison) -> list[Shown]:
        models = {"before": comparison.target, "after": comparison.runs[0], "retain model": comparison.retain}
        of = {
            name: {(example.set, example.index): example for example in model.examples}
            for name, model in models.items()
            if model is not None
        }
        run = comparison.runs[0].results
        return [_shown(set_label(key[0], run), example, of, key) for key, example in of["after"].items()]

    def plot(self) -> str | None:
        """Utility against efficacy of the run and the runs beside it, as SVG; None where there is nothing to draw."""
        with self._reading:
            comparison = self.comparison()
            siblings = [] if self.hidden else self._siblings(comparison.runs[0])
            own = replace(comparison.runs[0], name=self.name)
            drawn = plane(Comparison((own, *siblings), comparison.target, comparison.retain))
            return None if drawn is None else str(drawn.svg)

    def _siblings(self, own: RunResult) -> Sequence[RunResult]:
        """Runs in the same folder that were measured on the same rows."""
        found = []
        for file in sorted(self.folder.resolve().parent.glob(f"*/{RESULTS}")):
            if file.parent == self.folder.resolve():
                continue
            try:
                results = load_results(file, table=False)
                check_comparable(own.path, own.results, file, results)
            except InputError:  # of something else
                continue
            found.append(RunResult(file.parent.name, file, results))
        return found[:MOST_SIBLINGS]


def _shown(
    label: str, example: Example, of: Mapping[str, Mapping[tuple[str, int], Example]], key: tuple[str, int]
) -> Shown:
    values: dict[str, dict[str, float]] = {}
    for name, examples in of.items():
        for metric, value in examples[key].values.items() if key in examples else ():
            values.setdefault(metric, {})[name] = value
    answers = {name: examples[key].generation if key in examples else None for name, examples in of.items()}
    return Shown(example.set, label, example.index, example.question, example.answer, answers, values)


def _text_of(row: Shown) -> str:
    return "\n".join([row.prompt, row.answer, *(text for text in row.answers.values() if text)]).casefold()
