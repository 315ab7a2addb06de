"""The data of LLMU's scenarios in their published layouts, and the full form of each on a given model."""

import random
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.data import load_records
from expunge.data.rows import parse_row
from expunge.errors import InputError
from expunge.files import whole_folder, write_jsonl
from expunge.scenarios.base import Scenario, Sources

if TYPE_CHECKING:
    from expunge.evaluation import JudgeModels, Suite
    from expunge.scenarios.llmu import Experiment

Record = dict[str, Any]

SAFE_RLHF = ("prompt", "response_0", "response_1", "is_response_0_safe", "is_response_1_safe")
HALUEVAL = ("question", "right_answer", "hallucinated_answer")
PASSAGE = 1000  # characters: the prompt's 200, and about 200 tokens after them
ASKED = 200  # rows of each set that are measured
LONGEST_ANSWER = 200  # tokens
TRAINING: dict[str, Any] = {
    "learning_rate": 2e-6,
    "max_steps": 1000,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "save_strategy": "no",
    "stop_at_chance": False,
}
"""As the paper has it."""


def harmful_rows(spec: str) -> list[Record]:
    """Prompts with each response that is marked as not safe (PKU-SafeRLHF).

    Raises:
        InputError: It has other columns, or no such response.
    """
    found = []
    for i, record in enumerate(_records(spec, SAFE_RLHF)):
        for side in (0, 1):
            if not _truth(record[f"is_response_{side}_safe"], f"{spec}, row {i}"):
                found.append({"question": record["prompt"], "answer": record[f"response_{side}"]})
    if not found:
        raise InputError(f"{spec}: every response in it is marked as safe; there is nothing to forget.")
    return found


def hallucinated_rows(spec: str) -> list[Record]:
    """Questions with the hallucinated answer, and the right one beside it (HaluEval).

    Raises:
        InputError: It has other columns.
    """
    rows = [{name: record[name] for name in HALUEVAL} for record in _records(spec, HALUEVAL)]
    return [{**row, "answer": row["hallucinated_answer"]} for row in rows]


def passages(path: str) -> list[Record]:
    """A plain text file, cut at white space into passages.

    Raises:
        InputError: It is no text file, or too short.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a text file ({error}).") from error
    found = textwrap.wrap(text, PASSAGE, break_on_hyphens=False)
    if len(found) < 4:
        raise InputError(f"{path}: {len(text)} characters are too few for four passages of {PASSAGE}.")
    return [{"text": passage} for passage in found]


def normal_rows(spec: str) -> list[Record]:
    """What must stay: a text file, TruthfulQA as its CSV file or as on the Hub, or rows in any accepted layout.

    Raises:
        InputError: It cannot be read as any of them.
    """
    if Path(spec).suffix == ".txt":
        return passages(spec)
    records = load_records(spec)
    for question, answer in (("Question", "Best Answer"), ("question", "best_answer")):
        if records and question in records[0] and answer in records[0]:
            return [{"question": record[question], "answer": record[answer]} for record in records]
    for i, record in enumerate(records):
        parse_row(record, f"{spec}, row {i}")
    return records


def _records(spec: str, columns: Sequence[str]) -> list[Record]:
    records = load_records(spec)
    for i, record in enumerate(records):
        if missing := [name for name in columns if name not in record]:
            raise InputError(
                f"{spec}, row {i}: there is no column {missing[0]!r} in {', '.join(map(str, record))}. Needed are "
                f"{', '.join(columns)}."
            )
    return records


def _truth(value: Any, where: str) -> bool:
    """Whether a response is marked as safe; CSV has text for it."""
    known = {"true": True, "false": False}
    if (text := str(value).casefold()) not in known:
        raise InputError(f"{where}: {value!r} is neither true nor false.")
    return known[text]


def experiment(
    scenario: Scenario,
    given: Sources,
    out: Path,
    seed: int,
    forget_rows: Callable[[str], list[Record]],
    suite: "Suite",
    judges: "JudgeModels",
    options: Mapping[str, Any] | None = None,
) -> "Experiment":
    """The full form's experiment: rows read, split and written to `out/rows`, with what the target says to normal ones.

    Args:
        scenario: For errors.
        given: Model and data.
        out: The folder of the scenario.
        seed: Of the split.
        forget_rows: Reads what is to be forgotten.
        suite: Measures it.
        judges: Models that judge outputs.
        options: Of the training, beside the paper's.
    """
    from expunge.scenarios.llmu import Experiment

    if given.forget is None or given.retain is None:
        raise InputError(f"Scenario {scenario.name} needs {scenario.takes}.")
    folder = out / "rows"
    if not folder.is_dir():
        sets = split(forget_rows(given.forget), normal_rows(given.retain), seed)
        sets["normal"] = _with_answers(given.model, sets["normal"], suite)
        with whole_folder(folder) as part:
            for name, rows in sets.items():
                write_jsonl(part / f"{name}.jsonl", rows)
    return Experiment(
        target=given.model,
        forget=f"{folder}:forget",
        retain=f"{folder}:retain",
        measured={"forget": f"{folder}:asked", "unseen": f"{folder}:unseen", "normal": f"{folder}:normal"},
        suite=suite,
        train={**TRAINING, **(options or {})},
        judges=judges,
    )


def split(forget: Sequence[Record], normal: Sequence[Record], seed: int) -> dict[str, list[Record]]:
    """Half of each to unlearn with, the other half to be measured on; different questions, where one comes twice."""
    sets = {}
    for rows, train, test in ((forget, "forget", "unseen"), (normal, "retain", "normal")):
        prompts = list(dict.fromkeys(map(_prompt, rows)))
        random.Random(seed).shuffle(prompts)
        if len(prompts) < 2:
            raise InputError(f"{len(prompts)} prompt for the sets {train} and {test}: two at least are needed.")
        first = set(prompts[: len(prompts) // 2])
        place = {prompt: i for i, prompt in enumerate(prompts)}
        ordered = sorted(rows, key=lambda row: place[_prompt(row)])
        sets[train] = [row for row in ordered if _prompt(row) in first]
        sets[test] = [row for row in ordered if _prompt(row) not in first][:ASKED]
    return {**sets, "asked": sets["forget"][:ASKED]}


def _prompt(row: Record) -> str:
    return str(row.get("text") or row.get("question") or row.get("prompt") or row.get("messages"))


def _with_answers(model: str, rows: list[Record], suite: "Suite") -> list[Record]:
    """Normal rows with what the target says to them, which later answers are compared with; none where it says nothing.

    A passage's is its own beginning and what the target makes of it.
    """
    from dataclasses import replace

    from expunge.data.rows import parse_row
    from expunge.evaluation import Execution, Questions, evaluate
    from expunge.evaluation.suites import ANSWER
    from expunge.metrics.diversity import DIVERSITY

    spec = next(spec for spec in suite.sets if spec.name == "normal")
    asking = replace(suite, sets=(replace(spec, answer=ANSWER, metrics=(DIVERSITY.name,)),), metrics=(DIVERSITY,))
    parsed = [parse_row(row, "normal") for row in rows]
    said = evaluate(model, Questions(asking, data={"normal": parsed}), execution=Execution()).examples.to_pylist()
    found = []
    for row, line in zip(rows, said, strict=True):
        beginning = line["question"] if "text" in row else ""
        if (line["generation"] or "").strip():
            found.append({**row, "learned": beginning + line["generation"]})
    return found
