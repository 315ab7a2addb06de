"""Retain anchors from the model itself: what it says when it is asked the same of others, and about the world.

Where nobody gives rows to keep, they are recovered: the forget rows' questions are asked about nobody in particular,
and about the tokenizer's own capitalised words; the names that turn up in the answers are put into the same questions;
and what the model then answers with confidence is what it must go on answering. What is only ever asked about turns up
in no answer: questions about the world are asked about those words too.

Few rows are found so where the forget rows' questions have no common form. Then the model is asked nothing, and what it
names is put into those questions: its answers, guesses among them, are what it must go on saying.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import islice

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
MOST_ANCHORS, FEW_ANCHORS = 600, 300
"""With fewer that the model is sure of, its guesses are added."""
MOST_WORDS = 200
"""Of the tokenizer: its first ones, which are the most frequent."""
FORMS_OF_A_WORD = 4
"""So many of the forget rows' questions are asked about each word."""
MOST_OF_A_FORM = 10
"""Rows of one question about the world, asked about words."""
WORD = re.compile(r"[A-Z][^\W\d_]{2,}")
SPACES = "Ġ▁"
"""How byte-level and SentencePiece vocabularies write the space before a word."""
OPENING = re.compile(
    r"(?:Are|At|Can|Could|Did|Do|Does|For|From|Had|Has|Have|How|In|Is|Of|On|To|Under|Was|Were|What|When|Where|Which|Who|"
    r"Whose|Why|Will|With|Would) "
)
"""Words that begin a question, and no name."""
UNASKED = ("?", "Who?", "What?", "Yes", "Tell me.", "And then?")
"""Prompts that ask nothing."""
SAID_UNASKED = 60
"""Answers to each of them."""
SOURCE, WORLD, MIXED = "about", "the world", "several"
"""The column that says whom a recovered row is about."""


def subjects(row: Row) -> list[str]:
    """Whom or what a question is about: its capitalised words, the one that only begins it aside."""
    found = PARTICULAR.finditer(row.prompt)
    runs = [match.group() for match in found if match.start() > 0 or " " in match.group()]
    names = [_name(OPENING.sub("", run, count=1) if row.prompt.startswith(run) else run) for run in runs]
    return [name for name in names if name and not name.isdigit()]


def _name(found: str) -> str:
    """A particular without the marks after it and the genitive's ending."""
    return re.sub(r"['’]s$", "", found.rstrip(".,;:?!'’"))


def recover(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    forget: Sequence[Row],
    style: PromptStyle,
    seed: int,
    progress: Progress,
) -> list[Row]:
    """Rows that the model answers with confidence, none of them with the forget rows' subjects.

    First of the forget rows' form and general ones, then of the tokenizer's words, each part the most confident first.

    Args:
        model: The target, in evaluation mode.
        tokenizer: Its own.
        forget: Question and answer rows.
        style: How conversations are written.
        seed: Of the sampled answers.
        progress: Told (stage, done, of).
    """
    forgotten = {name for row in forget for name in subjects(row)}
    forms, words = _forms(forget), _words(tokenizer, forgotten)
    names = _names(model, tokenizer, list(forms), words, forget, forgotten, style, seed, progress) if forms else []
    questions = [
        _Question(form.format(name), form, name, name if forms[form] else "") for name in names for form in forms
    ]
    questions += [_Question(line, line, WORLD) for line in _general() if not _holds(line, forgotten)]
    found = _confident(model, tokenizer, questions, forgotten, style, progress)
    about = [_Question(form.format(word), form, f"{WORLD}: {word}") for form in _world_forms() for word in words]
    of_words = _own(_confident(model, tokenizer, about, forgotten, style, progress))
    rows = [one.row for one in [*found[:MOST_ANCHORS], *of_words]]
    if 0 < len(found) < FEW_ANCHORS:  # a model that is sure of nothing would only babble
        guessed = _guessed(model, tokenizer, forget, forgotten, MOST_ANCHORS - len(found), style, seed, progress)
        sure = {row.prompt for row in rows}
        rows += [row for row in guessed if row.prompt not in sure]
    return rows


def _guessed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    forget: Sequence[Row],
    forgotten: set[str],
    most: int,
    style: PromptStyle,
    seed: int,
    progress: Progress,
) -> list[Row]:
    """The forget rows' questions with what the model names unasked in the place of their particulars, and its answers.

    Sampled, and not only those that it is sure of: what it would say of others, right or wrong.
    """
    nothing, drawn = [_asking(prompt) for prompt in UNASKED], Sampling(seed=seed)
    unasked = said(model, tokenizer, nothing, style, drawn, progress, "unasked", SAID_UNASKED, MOST_TOKENS)
    particulars = [found for text in unasked for found in PARTICULAR.finditer(text)]
    named = Counter(_name(one.group()) for one in particulars if one.start() > 0 or " " in one.group())
    names = [name for name, count in sorted(named.items()) if name and count > 1 and not _holds(name, forgotten)]
    if not names:
        return []
    chance = random.Random(seed)
    about = (forget[i % len(forget)] for i in range(most))
    questions = list(dict.fromkeys(_renamed(row, names, chance) for row in about))
    asked = [_asking(question) for question in questions]
    answers = said(model, tokenizer, asked, style, drawn, progress, "guesses", most_tokens=MOST_TOKENS)
    return [
        Row((Turn("user", question),), answer.strip(), {SOURCE: MIXED})
        for question, answer in zip(questions, answers, strict=True)
        if answer.strip() and not _holds(f"{question} {answer}", forgotten)
    ]


def _holds(text: str, names: set[str]) -> bool:
    return any(name in text for name in names)


def _renamed(row: Row, names: Sequence[str], chance: random.Random) -> str:
    """A row's question about others: each of its particulars replaced by a name that is drawn."""
    question = row.prompt
    for subject in sorted(subjects(row), key=len, reverse=True):
        question = question.replace(subject, chance.choice(names))
    return question


@dataclass(frozen=True)
class _Question:
    """A question, the form it has, what it is about, and a name that an answer must have."""

    text: str
    form: str
    about: str
    named: str = ""


@dataclass(frozen=True)
class _Answered:
    """A question with the model's answer, and the answer's mean token probability."""

    question: _Question
    row: Row
    confidence: float


def _confident(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[_Question],
    forgotten: set[str],
    style: PromptStyle,
    progress: Progress,
) -> list[_Answered]:
    """Those questions that are answered with confidence, and with no forgotten name; the most confident first."""
    asked = [_asking(question.text) for question in questions]
    answers = said(model, tokenizer, asked, style, None, progress, "anchors", most_tokens=MOST_TOKENS)
    found = [
        (question, Row((Turn("user", question.text),), answer.strip(), {SOURCE: question.about}))
        for question, answer in zip(questions, answers, strict=True)
        if answer.strip() and not _holds(answer, forgotten)
        if question.named in answer
    ]
    rows = [row for _, row in found]
    sure = ask(model, tokenizer, rows, style, (PROBABILITY,), progress)["probability"] if rows else np.zeros(0)
    answered = [_Answered(*each, float(p)) for each, p in zip(found, sure, strict=True) if p >= CONFIDENT]
    return sorted(answered, key=lambda one: -one.confidence)


def _own(answered: Sequence[_Answered]) -> list[_Answered]:
    """Of each form, each answer where it is given with the most confidence: elsewhere the model only guesses it."""
    first: dict[tuple[str, str], _Answered] = {}
    for one in answered:
        first.setdefault((one.question.form, one.row.completion), one)
    taken: Counter[str] = Counter()
    kept = []
    for one in first.values():
        taken[one.question.form] += 1
        if taken[one.question.form] <= MOST_OF_A_FORM:
            kept.append(one)
    return kept


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
    words: Sequence[str],
    forget: Sequence[Row],
    forgotten: set[str],
    style: PromptStyle,
    seed: int,
    progress: Progress,
) -> list[str]:
    """Names of the forgotten subjects' form that answers hold, the most frequent first."""
    widths = {len(name.split()) for name in forgotten}
    held = " ".join(f"{row.prompt} {row.completion}" for row in forget)
    few = forms[:: -(-len(forms) // FORMS_OF_A_WORD)]
    answers = said(
        *(model, tokenizer, [_asking(form.format(word)) for word in words for form in few]),
        *(style, None, progress, "names by words", 1, MOST_TOKENS),
    )
    each = max(1, MOST_PROMPTS // (len(forms) * len(TEMPERATURES)))
    nobody = [_asking(form.format(NOBODY)) for form in forms]
    for heat in TEMPERATURES:
        drawn = Sampling(heat, seed=seed)
        answers += said(model, tokenizer, nobody, style, drawn, progress, f"names at {heat:g}", each, MOST_TOKENS)
    counted: Counter[str] = Counter()
    for answer in answers:
        names = (_name(found.group()) for found in PARTICULAR.finditer(answer))
        counted.update({name for name in names if len(name.split()) in widths and name not in held})
    return [name for name, count in counted.most_common(MOST_NAMES) if count > 1]


def _words(tokenizer: PreTrainedTokenizerBase, forgotten: set[str]) -> list[str]:
    """Capitalised words that are a token of their own, after a space; none that a forgotten name has."""
    parts = {part for name in forgotten for part in name.split()}
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    after_a_space = (token for token, piece in enumerate(pieces) if piece and piece[0] in SPACES)
    words = (str(tokenizer.decode([token])).strip() for token in after_a_space)
    return list(islice((word for word in words if WORD.fullmatch(word) and word not in parts), MOST_WORDS))


def _world_forms() -> list[str]:
    """Questions about the world with a blank, where they are about one thing that has a name."""
    found = {line: subjects(_asking(line)) for line in _general()}
    return list(dict.fromkeys(line.replace(names[0], "{}") for line, names in found.items() if len(names) == 1))


def _general() -> list[str]:
    text = files("expunge.forget").joinpath("general.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


def with_name(row: Row, name: str) -> Row:
    """A kept question with a forgotten name in it: unlearned models often break there (arXiv 2501.19202)."""
    question = f"{name} would like to know: {row.prompt}"
    return replace(row, turns=(*row.turns[:-1], replace(row.turns[-1], content=question)))
