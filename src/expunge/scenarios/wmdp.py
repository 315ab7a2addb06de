"""WMDP (arXiv 2403.03218): hazardous knowledge in two domains at once, by RMU on one matrix of each of three layers.

Small: two invented hazards and general knowledge, in texts and questions, which a model of a million parameters learns;
RMU on those matrices, and on whole layers.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError
from expunge.files import whole_folder, write_jsonl
from expunge.scenarios.base import Say, Scenario, Sources, TableRow, learn_tiny
from expunge.scenarios.compare import TARGET, Request, compare
from expunge.worlds.new import TINY_UNLEARNING

if TYPE_CHECKING:
    from expunge.data import Row
    from expunge.evaluation import Questions

Record = dict[str, Any]

RMU, WHOLE, CHANCE = "RMU", "RMU, whole layers", "chance"
CORPORA = {"bio": ("bio-forget-corpus", "bio_remove_dataset"), "cyber": ("cyber-forget-corpus",)}
"""By what each domain's texts are called; that of biology comes under two names."""
ASKED = {"wmdp_bio": "wmdp-bio", "wmdp_cyber": "wmdp-cyber", "mmlu": "mmlu"}
"""Sets, named as the harness names its tasks, and the configurations that they are read from."""
LETTERS = 4  # choices of a question
SHORTEST, LONGEST = (
    50,
    2000,
)  # characters of a text: shorter ones are left out, longer ones cut, as in the released code
ROWS = 300  # of each domain: what 150 steps of four rows take
LABELS = {
    "wmdp_bio/accuracy": "Right choices, biology",
    "wmdp_cyber/accuracy": "Right choices, cyber security",
    "wmdp_chem/accuracy": "Right choices, chemistry (not unlearned)",
    "mmlu/accuracy": "Right choices, general knowledge",
}
SMALL_RMU: dict[str, dict[str, Any]] = {
    RMU: {"name": "RMU+EMBED", "layer": 2, "RMU.c": 100.0, "RMU.modules": ["down_proj"], "EMBED.weight": 300.0},
    WHOLE: {"name": "RMU+EMBED", "layer": 1, "RMU.c": 60.0, "EMBED.weight": 100.0},
}
"""Chosen among eleven and seven settings on the world of seed 100. One matrix a layer is little in so small a model."""
SMALL_TRAINING: dict[str, Any] = {**TINY_UNLEARNING, "learning_rate": 1e-3, "num_train_epochs": 20, "use_cpu": True}


def small(out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """Run the small form; run again in the same folder, it goes on where it was."""
    from expunge.worlds.hazards import hazard_world

    data = out / "wmdp"
    with whole_folder(data) as part:
        for name, rows in hazard_world(seed).items():
            write_jsonl(part / f"{name}.jsonl", rows)
    if not (out / "target").is_dir():
        say("The target model is learning (about half a minute)")
        learn_tiny(f"{data}:learned", out / "target", seed, {"per_device_train_batch_size": 8})
    given = Sources(str(out / "target"), str(data), retain=f"{data}:wikitext")
    return _run(given, SMALL_RMU, SMALL_TRAINING, out, seed, quiet, say)


def full(given: Sources, out: Path, seed: int, quiet: bool, say: Say) -> list[TableRow]:
    """The paper's setting for Zephyr-7B on the published corpora, asked by lm-evaluation-harness.

    Where the data folder has `wmdp-bio` and `wmdp-cyber`, its own questions are asked in the harness's place.

    Raises:
        InputError: data or retain texts are missing or in another layout, or the harness is not installed.
    """
    if given.data is None or given.retain is None:
        raise InputError(f"Scenario {WMDP_SCENARIO.name} needs {WMDP_SCENARIO.takes}.")
    objective, train = published()
    return _run(given, {RMU: objective}, train, out, seed, quiet, say)


def published() -> tuple[dict[str, Any], dict[str, Any]]:
    """Objective and training of the recipe for Zephyr-7B that comes with expunge."""
    from expunge.training.recipe import read_recipe

    recipe = read_recipe("wmdp-zephyr-7b-rmu", {})
    return {"name": recipe.objective} if isinstance(recipe.objective, str) else recipe.objective, recipe.train


def _run(
    given: Sources,
    options: dict[str, dict[str, Any]],
    train: dict[str, Any],
    out: Path,
    seed: int,
    quiet: bool,
    say: Say,
) -> list[TableRow]:
    rows_at = out / "rows"
    if not rows_at.is_dir():
        forget, retain = forget_rows(str(given.data), seed), wikitext_rows(str(given.retain), seed)
        with whole_folder(rows_at) as part:
            write_jsonl(part / "forget.jsonl", forget)
            write_jsonl(part / "retain.jsonl", retain)
    request = Request(
        target=given.model,
        forget=f"{rows_at}:forget",
        retain=f"{rows_at}:retain",
        questions=_questions(str(given.data)),
        metrics=tuple(LABELS),
        train=train,
        options=options,
    )
    rows = list(compare(request, tuple(options), out / "runs", seed, quiet, say))
    chance = [TableRow(CHANCE, row.metric, 1 / LETTERS, None, row.n, seed) for row in rows if row.method == TARGET]
    return rows + chance


def forget_rows(data: str, seed: int) -> list[Record]:
    """The texts of both domains in turn, as many of each.

    Args:
        data: A folder with a corpus of each, by its published name.
        seed: Of the texts that are drawn where there are more than are trained on.

    Raises:
        InputError: A corpus is not there, or has no column `text`.
    """
    from expunge.data import configurations

    known = configurations(data)
    drawn = []
    for domain, names in CORPORA.items():
        if (name := next((name for name in names if name in known), None)) is None:
            raise InputError(f"{data}: there is no {' or '.join(names)}. Found: {', '.join(known)}.")
        texts = [{"domain": domain, "text": text} for text in texts_of(f"{data}:{name}")]
        drawn.append(random.Random(f"{seed}/{domain}").sample(texts, len(texts)))
    return [row for pair in list(zip(*drawn, strict=False))[:ROWS] for row in pair]


def wikitext_rows(spec: str, seed: int) -> list[Record]:
    """The paragraphs of WikiText, as many as are trained on at most: headings (` = Title = `) and blank lines are none.

    Raises:
        InputError: There is no column `text`, or no paragraph.
    """
    paragraphs = [{"text": text} for text in texts_of(spec) if not re.fullmatch(r"\s*=.*=\s*", text)]
    if not paragraphs:
        raise InputError(f"{spec}: there is no paragraph of more than {SHORTEST} characters in it.")
    return random.Random(f"{seed}/retain").sample(paragraphs, min(len(paragraphs), len(CORPORA) * ROWS))


def texts_of(spec: str) -> list[str]:
    """The column `text`; others, such as a paper's title and abstract, are not read, as in the released code."""
    from expunge.data import load_records

    found = []
    for i, record in enumerate(load_records(spec)):
        if not isinstance(text := record.get("text"), str):
            raise InputError(
                f"{spec}, row {i}: there is no text in a column 'text'. Found: {', '.join(map(str, record))}."
            )
        if len(text.strip()) > SHORTEST:
            found.append(text[:LONGEST])
    return found


def question_rows(records: Sequence[tuple[str, Record]]) -> "list[Row]":
    """Questions with four choices and the place of the right one, as WMDP and MMLU have them.

    Args:
        records: Each with what to call it in errors.

    Raises:
        InputError: A column is missing, there are not four choices, or the answer is none of them.
    """
    from expunge.data.rows import parse_row

    rows = []
    for where, record in records:
        if missing := [name for name in ("question", "choices", "answer") if name not in record]:
            raise InputError(f"{where}: there is no column {missing[0]!r} in {', '.join(map(str, record))}.")
        choices, right = record["choices"], record["answer"]
        if not isinstance(choices, list) or len(choices) != LETTERS:
            raise InputError(f"{where}: 'choices' must be a list of {LETTERS} texts.")
        if not isinstance(right, int) or not 0 <= right < LETTERS:
            raise InputError(f"{where}: 'answer' must be the place of the right choice, 0 to 3, not {right!r}.")
        wrong = [choice for at, choice in enumerate(choices) if at != right]
        asked = {"question": record["question"], "answer": choices[right], "perturbed_answer": wrong}
        rows.append(parse_row(asked, where))
    return rows


def _questions(data: str) -> "Questions":
    """The data's own questions, scored by the likelihood of each choice's text, if it has them; else the harness's."""
    from expunge.data import configurations, load_records
    from expunge.evaluation import Questions, SetSpec, Suite
    from expunge.scenarios.hierarchy import CHOSEN

    known = configurations(data)
    if not {"wmdp-bio", "wmdp-cyber"} <= set(known):
        return Questions("wmdp")
    sets: dict[str, Sequence[Row]] = {}
    for task, name in ASKED.items():
        if name in known:
            spec = f"{data}:{name}"
            sets[task] = question_rows([(f"{spec}, row {i}", row) for i, row in enumerate(load_records(spec))])
    suite = Suite(
        name="choices",
        source="2403.03218",
        summary="four choices, the likeliest is the answer",
        sets=tuple(SetSpec(name, name, "retain" if name == "mmlu" else "forget") for name in sets),
        metrics=(CHOSEN,),
        max_tokens=1,
        limit_counts_prompt=False,
    )
    return Questions(suite, sets)


FULL_DIFFERS = (
    "Of each domain 300 texts are drawn, cut after 2,000 characters; steps mix both domains, where the released code "
    "takes them in turn. Both are steered to the same random direction, there to one each.",
    "RMU's means are per row, there over the tokens of the whole padded batch.",
    "The paper's other methods (SCRUB, SSD) are not there, and its MT-Bench is not measured.",
    "Questions of the data folder are scored by the likelihood of each choice's text, the harness's by their letters.",
    "One seed.",
)
WMDP_SCENARIO = Scenario(
    name="wmdp",
    summary="hazardous knowledge of two domains is steered away: are its questions at chance, and what is kept?",
    paper="2403.03218",
    differs=(
        "Two invented hazards and towns on rivers, 24 facts each, and a model of a million parameters that learned "
        "texts and questions by heart; not biology, cyber security, WikiText and MMLU, and seven billion parameters.",
        "RMU at the third of four layers, on whole ones at the second, in the paper the eighth of 32; rate, weight and "
        "c are for so small a model, chosen on the world of another seed.",
        "The likeliest of four texts is the answer, in the paper the likeliest of four letters.",
        *FULL_DIFFERS[1:3],
        "One seed.",
    ),
    labels=LABELS,
    drawn=tuple(LABELS),
    small=small,
    full=full,
    full_differs=FULL_DIFFERS,
    takes="--model ZEPHYR --data WMDP-CORPORA --retain WIKITEXT",
)
