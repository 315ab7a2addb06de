"""Retain anchors from the model itself: what it says when it is asked the same of others, and about the world.

Where nobody gives rows to keep, they are recovered: the forget rows' questions are asked about nobody in particular,
the names that turn up in sampled answers are put into the same questions, and what the model then answers with
confidence is what it must go on answering.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.attacks.ask import ask, said
from expunge.data import PromptStyle, Row, Turn
from expunge.evaluation.passes.generate import Sampling
from expunge.evaluation.passes.run import Progress
from expunge.forget.controls import PARTICULAR
from expunge.metrics.probability import PROBABILITY

NOBODY = "someone"
MOST_PROMPTS = 400
TEMPERATURES = (0.7, 1.0, 1.3)
MOST_NAMES = 40
MOST_TOKENS = 64
"""Of an answer: a sentence or two."""
CONFIDENT = 0.7
"""An answer is the model's own knowledge where its tokens have at least this probability, in geometric mean."""
MOST_ANCHORS = 600
SOURCE, WORLD = "about", "the world"
"""The column that says whom a recovered row is about."""


def subjects(row: Row) -> list[str]:
    """Whom or what a question is about: its capitalised words, the one that only begins it aside."""
    found = PARTICULAR.finditer(row.prompt)
    names = [match.group().rstrip(".,;:?!'’") for match in found if match.start() > 0 or " " in match.group()]
    return [name for name in names if name and not name.isdigit()]


def recover(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    forget: Sequence[Row],
    style: PromptStyle,
    seed: int,
    progress: Progress,
) -> list[Row]:
    """Rows that the model answers with confidence, likest the forget rows first; none of the forget rows' subjects.

    Args:
        model: The target, in evaluation mode.
        tokenizer: Its own.
        forget: Question and answer rows.
        style: How conversations are written.
        seed: Of the sampled answers.
        progress: Told (stage, done, of).
    """
    forgotten = {name for row in forget for name in subjects(row)}
    forms = _forms(forget)
    names = _names(model, tokenizer, list(forms), forget, forgotten, style, seed, progress) if forms else []
    others = [(form.format(name), name, forms[form]) for name in names for form in forms]
    world = [line for line in _general() if not any(name in line for name in forgotten)]
    questions = [question for question, _, _ in others] + world
    asked = [_asking(question) for question in questions]
    answers = said(model, tokenizer, asked, style, None, progress, "anchors", most_tokens=MOST_TOKENS)
    found = []
    for at, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        if not answer.strip() or any(name in answer for name in forgotten):
            continue
        if at >= len(others):
            found.append(Row((Turn("user", question),), answer.strip(), {SOURCE: WORLD}))
        elif not others[at][2] or others[at][1] in answer:
            found.append(Row((Turn("user", question),), answer.strip(), {SOURCE: others[at][1]}))
    confidence = ask(model, tokenizer, found, style, (PROBABILITY,), progress)["probability"] if found else np.zeros(0)
    best = sorted((at for at in range(len(found)) if confidence[at] >= CONFIDENT), key=lambda at: -confidence[at])
    return [found[at] for at in sorted(best[:MOST_ANCHORS])]


def _asking(question: str) -> Row:
    return Row((Turn("user", question),), "?")


def _forms(forget: Sequence[Row]) -> dict[str, bool]:
    """The forget rows' questions with a blank for their subject; whether the answer names the subject too."""
    forms = {}
    for row in forget:
        for name in subjects(row)[:1]:
            if "{" not in row.prompt and "}" not in row.prompt:
                forms[row.prompt.replace(name, "{}", 1)] = name in row.completion
    return forms


def _names(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    forms: Sequence[str],
    forget: Sequence[Row],
    forgotten: set[str],
    style: PromptStyle,
    seed: int,
    progress: Progress,
) -> list[str]:
    """Names of the forgotten subjects' form that sampled answers hold, the most frequent first."""
    widths = {len(name.split()) for name in forgotten}
    held = " ".join(f"{row.prompt} {row.completion}" for row in forget)
    each = max(1, MOST_PROMPTS // (len(forms) * len(TEMPERATURES)))
    prompts = [_asking(form.format(NOBODY)) for form in forms]
    counted: Counter[str] = Counter()
    for temperature in TEMPERATURES:
        drawn = Sampling(temperature, seed=seed)
        stage = f"names at {temperature:g}"
        for answer in said(model, tokenizer, prompts, style, drawn, progress, stage, each, MOST_TOKENS):
            names = (re.sub(r"['’]s$", "", found.group().rstrip(".,;:'’")) for found in PARTICULAR.finditer(answer))
            counted.update({name for name in names if len(name.split()) in widths and name not in held})
    return [name for name, count in counted.most_common(MOST_NAMES) if count > 1]


def _general() -> list[str]:
    text = files("expunge.forget").joinpath("general.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


def with_name(row: Row, name: str) -> Row:
    """A kept question with a forgotten name in it: unlearned models often break there (arXiv 2501.19202)."""
    question = f"{name} would like to know: {row.prompt}"
    return replace(row, turns=(*row.turns[:-1], replace(row.turns[-1], content=question)))
