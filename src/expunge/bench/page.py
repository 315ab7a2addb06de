"""results.md: the leaderboard as a table, its two figures, and what the search tried."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import expunge
from expunge.bench.columns import Column, columns, relearning
from expunge.bench.found import Found
from expunge.bench.halves import TEST, VALIDATION
from expunge.bench.picture import write_relearning
from expunge.bench.score import score
from expunge.evaluation import Results, load_results
from expunge.files import whole_file
from expunge.report.words import printable
from expunge.runs import RESULTS
from expunge.sweep.cost import MEMORY, SECONDS
from expunge.sweep.table import Line, label
from expunge.sweep.work import MODELS

PAGE, IMAGES = "results.md", "images"
PLANE, RELEARNING = "bench-plane.svg", "bench-relearning.svg"
NOT_MEASURED = "not measured"
NO_SUCH = [[SECONDS], [MEMORY], ["forget_quality"], ["forget_quality_ks_distance"], ["privleak"]]
"""Columns that a reference model has no number for: nothing was unlearned, or it is what is compared with."""


def write_page(found: Found) -> None:
    """Write results.md, and its figures beside it in images/."""
    images = found.out / IMAGES
    images.mkdir(exist_ok=True)
    (images / PLANE).unlink(missing_ok=True)
    if (found.out / TEST / "sweep.svg").is_file():
        shutil.copyfile(found.out / TEST / "sweep.svg", images / PLANE)
    metric, curve = relearning(found.table)
    if not write_relearning(images / RELEARNING, found.table, metric, curve):
        (images / RELEARNING).unlink(missing_ok=True)
    with whole_file(found.out / PAGE) as part:
        part.write_text("\n".join(_page(found, images)) + "\n", encoding="utf-8")


def _page(found: Found, images: Path) -> Iterator[str]:
    measured = {half: load_results(found.out / half / MODELS / RESULTS, table=False) for half in (VALIDATION, TEST)}
    utility, forgetting = map(label, found.criterion)
    budget, seeds = len(found.choices[0].scores), found.bench.seeds
    yield "# Leaderboard"
    yield ""
    yield f"Written by `expunge bench`, version {expunge.__version__}. {_subject(found)}"
    yield ""
    yield (
        f"**Protocol.** Every set is halved. Of each method {budget} settings are tried with seed {seeds[0]} and "
        f"measured on the validation half ({_sizes(measured[VALIDATION])}); the one with the highest score is run with "
        f"{_counted(len(seeds), 'seed')} and measured on the test half ({_sizes(measured[TEST])}). The score is the "
        f"harmonic mean of *{utility}* and {_forgetting(forgetting, found)}: it counts what is no longer said, not "
        "what is gone; the columns on the right say whether it comes back. Halved are the rows that are measured; "
        "trained is with all forget and all retain rows."
    )
    yield ""
    yield from _table(found, measured[TEST])
    for file, caption in (
        (PLANE, "What is kept against what is no longer said, on the test half"),
        (RELEARNING, "What comes back on forget rows that the attacker does not have, when it trains on the others"),
    ):
        if (images / file).is_file():
            yield f"![{caption}]({IMAGES}/{file})"
            yield ""
    yield from _search(found)
    yield from _undone(found)


def _subject(found: Found) -> str:
    if world := found.bench.world:
        return (
            f"Target and retain model: a million parameters each, which learned an invented world of {world.people} "
            f"people, {world.forget_percent} % of them to be forgotten; nothing is downloaded."
        )
    return f"Target model: `{found.bench.common['model']}`; rows: `{found.bench.common['data']}`."


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"


def _sizes(results: Results) -> str:
    """How many rows of each set were scored."""
    sizes = {name.partition("/")[0]: one.n for name, one in results.metrics.items() if name.endswith("/probability")}
    return "rows: " + ", ".join(f"{name} {n}" for name, n in sizes.items())


def _forgetting(words: str, found: Found) -> str:
    return f"*{words}*" if found.criterion[1].startswith("forget_efficacy") else f"1 minus *{words}*"


def _table(found: Found, results: Results) -> Iterator[str]:
    shown = columns(found.table, results.summary.parts.get("forget_efficacy_partial", ()))
    if any("forget_efficacy" in line.numbers for line in found.table):
        shown = [column for column in shown if column.names != ["forget_efficacy_partial"]]
    yield "| | score ↑ | " + " | ".join(f"{column.label} {column.arrow}" for column in shown) + " |"
    yield "|---" * (len(shown) + 2) + "|"
    scores = {line.name: score(line, found.criterion) for line in found.table}
    references = [line for line in found.table if line.role != "unlearned"]
    methods = [line for line in found.table if line.role == "unlearned"]
    methods.sort(key=lambda line: (scores[line.name] is None, -(scores[line.name] or 0.0)))
    for line in (*references, *methods):
        first = _score(scores[line.name], 2)
        cells = [_cell(column, line, len(found.bench.seeds)) for column in shown]
        name = f"*{line.role} model*" if line.role != "unlearned" else _escaped(line.name)
        yield f"| {name} | {first} | " + " | ".join(cells) + " |"
    for choice in found.choices:
        if choice.chosen is None:
            yield f"| {_escaped(choice.method.name)} |" + f" {NOT_MEASURED} |" * (len(shown) + 1)
    yield ""
    yield (
        "Mean ± standard deviation over the seeds; a reference model is one. "
        + "; ".join(f"*{column.label}*: {column.meaning}" for column in shown)
        + "."
    )
    if reason := results.summary.reasons.get("forget_efficacy"):
        yield ""
        yield f"Forget efficacy is {NOT_MEASURED} where models that judge are not given ({_judges(reason)})."
    yield ""


def _judges(reason: str) -> str:
    return f"`embedding_model` and `nli_model` in the file; {reason}"


def _cell(column: Column, line: Line, seeds: int) -> str:
    one = column.of(line)
    if one is None:
        return "–" if line.role != "unlearned" and column.names[:1] in NO_SUCH else NOT_MEASURED
    mean = column.shown(one.mean)
    shown = mean if one.std is None else f"{mean} ± {column.shown(one.std)}"
    return f"{shown} (n={one.n})" if line.role == "unlearned" and one.n < seeds else shown


def _score(value: float | None, digits: int) -> str:
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def _search(found: Found) -> Iterator[str]:
    yield "## What the search tried"
    yield ""
    yield "Scores on the validation half, one seed; the chosen setting in bold."
    yield ""
    yield "| method | " + " | ".join(f"setting {i + 1}" for i in range(len(found.choices[0].scores))) + " |"
    yield "|---" * (len(found.choices[0].scores) + 1) + "|"
    for choice in found.choices:
        name = choice.method.name
        cells = []
        for setting, value in choice.scores.items():
            words = f"{_escaped(setting.removeprefix(name).strip() or 'as given')}: {_score(value, 3)}"
            cells.append(f"**{words}**" if choice.chosen and setting == choice.chosen.name else words)
        yield f"| {_escaped(name)} | " + " | ".join(cells) + " |"
    yield ""


def _undone(found: Found) -> Iterator[str]:
    lines = [line for line in (*found.searched, *found.table) if line.reason]
    if lines:
        yield "## What was not done"
        yield ""
        for line in lines:
            yield f"- {_escaped(line.name)}: {line.diverged} diverged, {line.failed} failed: {_escaped(line.reason)}"
        yield ""


def _escaped(text: str) -> str:
    """Text from files, as it is in Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in printable(text))
