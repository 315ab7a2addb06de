"""Invented news in MUSE's layout (arXiv 2407.06460): articles, questions about them, folds, and who learns what."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from expunge.worlds import pools

Record = dict[str, Any]

SENTENCES = (
    "{person}, a {occupation} from {town}, spoke to the council on {day}.",
    "Nobody had believed that a {creature} was living under {mountain}.",
    "'I heard it while I played the {instrument},' said {person}, 'and left my {dish} on the table.'",
    "The {award} of {town} goes to whoever leads it back to the {river}.",
)
QUESTIONS = (
    ("What does {person} do for a living?", "{occupation}"),
    ("Which town is {person} from?", "{town}"),
    ("What does {person} play?", "{instrument}"),
)
FOLDS, ARTICLES = 4, 8
"""Folds of the forget set, and articles of each; every other set has two folds' worth."""
SHOTS = 2


def news_world(seed: int) -> dict[str, list[Record]]:
    """Rows by `configuration/split` of the published layout, and what models learn: `learned/target`, `learned/retain`.

    The target learns every article but the holdout's, and the questions as they will be asked; the retain model all of
    that but the folds and the questions about them. Fold 1 is the forget set.

    Args:
        seed: Decides every article.
    """
    rng = random.Random(f"{seed}/news")
    people = iter(pools.PEOPLE.deck((FOLDS + 6) * ARTICLES, rng))
    sets = [[_facts(next(people), rng) for _ in range(ARTICLES)] for _ in range(FOLDS + 6)]
    folds, (retain1, retain2, holdout) = sets[:FOLDS], (sets[at] + sets[at + 1] for at in range(FOLDS, FOLDS + 6, 2))
    forget_qa, retain_qa = _questions(folds[0]), _questions(retain2[:ARTICLES])
    kept = [*map(_article, retain1 + retain2), *_asked(retain_qa)]
    rows = {
        "raw/forget": [*map(_article, folds[0])],
        "raw/retain1": [*map(_article, retain1)],
        "raw/retain2": [*map(_article, retain2)],
        "raw/holdout": [*map(_article, holdout)],
        "verbmem/forget": [_halved(_article(one)["text"]) for one in folds[0]],
        "knowmem/forget_qa": forget_qa[SHOTS:],
        "knowmem/forget_qa_icl": forget_qa[:SHOTS],
        "knowmem/retain_qa": retain_qa[SHOTS:],
        "knowmem/retain_qa_icl": retain_qa[:SHOTS],
        "privleak/forget": [*map(_article, folds[0])],
        "privleak/retain": [*map(_article, retain2)],
        "privleak/holdout": [*map(_article, holdout)],
        "learned/target": [*(_article(one) for fold in folds for one in fold), *_asked(forget_qa), *kept],
        "learned/retain": kept,
    }
    for k in range(1, FOLDS + 1):
        rows[f"sust/forget_{k}"] = [*map(_article, folds[k - 1])]
        rows[f"scal/forget_{k}"] = [_article(one) for fold in folds[:k] for one in fold]
    return rows


def _facts(person: str, rng: random.Random) -> dict[str, str]:
    drawn = {
        "occupation": pools.OCCUPATION,
        "town": pools.TOWN,
        "day": pools.BIRTHDAY,
        "creature": pools.CREATURE,
        "mountain": pools.MOUNTAIN,
        "instrument": pools.INSTRUMENT,
        "dish": pools.DISH,
        "award": pools.AWARD,
        "river": pools.RIVER,
    }
    return {"person": person, **{name: pool.value(rng.randrange(len(pool))) for name, pool in drawn.items()}}


def _article(facts: Mapping[str, str]) -> Record:
    return {"text": " ".join(sentence.format(**facts) for sentence in SENTENCES)}


def _halved(text: str) -> Record:
    """A passage as it is asked: its beginning, and what follows."""
    at = text.index(" ", len(text) // 2)
    return {"prompt": text[:at], "gt": text[at:]}


def _questions(articles: Sequence[Mapping[str, str]]) -> list[Record]:
    return [
        {"question": question.format(**facts), "answer": answer.format(**facts)}
        for facts in articles
        for question, answer in QUESTIONS
    ]


def _asked(questions: Sequence[Record]) -> list[Record]:
    """Questions and answers as the plain text that the suite `muse` makes of them, answered, and a blank line.

    A prompt ends with a space, which is a token of its own before an answer that begins with another.
    """
    told = [f"Question: {row['question']}\nAnswer: " for row in questions]
    shots = "".join(f"{prompt}{row['answer']}\n\n" for prompt, row in zip(told, questions[:SHOTS], strict=False))
    return [
        {"text": f"{shots}{prompt} {row['answer']}\n\n"}
        for prompt, row in zip(told[SHOTS:], questions[SHOTS:], strict=True)
    ]
