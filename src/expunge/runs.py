"""The names of everything in a run folder, and what `expunge purge` removes of it.

    recipe.yaml            all that the run depended on, spelt out
    environment.json       versions, fingerprints, times
    choice.json            trials of an objective's settings, while the run is under way; then in environment.json
    train_log.jsonl        a line for each logged step
    model/ or adapter/     the unlearned weights; with prompt_style.json where prompts were not written as usual
    results.json           what was measured; beside it results.examples.parquet, and results.retain.json and
                           results.target.json with theirs
    attack.json            what attacks brought back; attack.parts/ while they are under way
    verdict.json           what became of each row
    flow/                  of `expunge forget`: what each stage found, without texts; its search is study.db
    built/                 rows that it built, and answers
    merged/                adapter and model as one; README.md, a model card; report.html
    reference/             caches of a run under way: token ids, stored reference values, alternative answers
    checkpoint-*/          to resume from, while the run is under way
    results.parts/         what an evaluation under way has measured so far
    lock                   held by the process that works on the run
    .*.tmp                 what was being written when a process was killed

A run lives in `<name>.unfinished` until it is whole, a fine-tuned model in `.<name>.*.tmp`.

And of everything in a ledger's folder:

    ledger.sqlite          the records, chained; with -journal while one is written
    retain.jsonl           the rows to keep, as they were at the start; holdout.jsonl likewise
    requests/ID.jsonl      the rows of a request, until it is redacted
    inputs/STATE/          forget.jsonl and retain.jsonl of the state under way
    states/STATE/          a run folder for each state of the model; with measured.json, what was measured of it
"""

from glob import escape
from pathlib import Path

RECIPE = "recipe.yaml"
ENVIRONMENT = "environment.json"
CHOICE = "choice.json"
TRAIN_LOG = "train_log.jsonl"
MODEL, ADAPTER = "model", "adapter"
PROMPT_STYLE = "prompt_style.json"
RESULTS = "results.json"
VERDICT = "verdict.json"
ATTACK = "attack.json"
FLOW, BUILT, MERGED = "flow", "built", "merged"
CARD, REPORT = "README.md", "report.html"
CACHES = "reference"
CHECKPOINT = "checkpoint-"
EXAMPLES_SUFFIX = ".examples.parquet"
PARTS_SUFFIX = ".parts"
UNFINISHED_SUFFIX = ".unfinished"
LOCK = "lock"
LEDGER = "ledger.sqlite"
REQUESTS, INPUTS, STATES = "requests", "inputs", "states"
RETAIN_ROWS, HOLDOUT_ROWS = "retain.jsonl", "holdout.jsonl"
MEASURED = "measured.json"
WRITTEN = f".{'[0-9a-f]' * 12}.tmp"
TEMPORARY = f".*{WRITTEN}"  # see files.py

# Texts of rows, or values derived from them, and older weights. Numbers, settings and the model stay.
PURGED = (CACHES, BUILT, f"{CHECKPOINT}*", f"*{EXAMPLES_SUFFIX}", f"*{PARTS_SUFFIX}", TEMPORARY)
# In a report that shows none of them.
REDACTED = "expunge-redacted"


def unfinished(out: Path) -> Path:
    """Where a run lives until it is finished."""
    return out if out.name.endswith(UNFINISHED_SUFFIX) else out.with_name(out.name + UNFINISHED_SUFFIX)


def weights_in(run: Path, adapter: bool) -> Path:
    """Where a run's weights lie."""
    return run / (ADAPTER if adapter else MODEL)


def table_path(results: str | Path) -> Path:
    """The table of examples of a results file: `results.json` -> `results.examples.parquet`."""
    return Path(results).with_suffix(EXAMPLES_SUFFIX)


def parts_path(results: str | Path) -> Path:
    """Where an unfinished evaluation keeps what it has: `results.json` -> `results.parts`."""
    return Path(results).with_suffix(PARTS_SUFFIX)


def companion_path(results: str | Path, role: str) -> Path:
    """The retain or target model's results: `results.json` -> `results.retain.json`."""
    return Path(results).with_suffix(f".{role}.json")


def held_texts(run: Path) -> list[Path]:
    """What a run folder still holds of what was to be forgotten."""
    report = run / REPORT
    shown = report.is_file() and not is_redacted(run)
    return [path for pattern in PURGED for path in sorted(run.glob(pattern))] + [report] * shown


def is_redacted(run: Path) -> bool:
    """Whether a run's own report hides what was to be forgotten."""
    report = run / REPORT
    return report.is_file() and REDACTED in report.read_text(encoding="utf-8", errors="replace")[:4000]


def left_behind(run: Path) -> list[Path]:
    """What a killed process left beside a run or model folder: all of it unfinished."""
    under_way = unfinished(run)
    return ([under_way] if under_way.is_dir() else []) + sorted(run.parent.glob(f".{escape(run.name)}{WRITTEN}"))
