"""Two invented books, as passages that can be learned by heart: one whose text must go, one that may stay."""

import random
from typing import Any

from expunge.worlds import pools
from expunge.worlds.harm import as_learned, normal_rows
from expunge.worlds.pools import Pool

Record = dict[str, Any]
Sentences = tuple[tuple[str, tuple[Pool, ...]], ...]

PROTECTED: Sentences = (
    ("On the morning of {}, {} left {} with a {}.", (pools.BIRTHDAY, pools.PEOPLE, pools.TOWN, pools.PET)),
    ("Nobody in {} had ever tasted {}, and nobody asked.", (pools.STREET, pools.DISH)),
    ("The {} swore by the {} that the {} ran backwards.", (pools.OCCUPATION, pools.AWARD, pools.RIVER)),
    ("'Play the {} once more,' said {}, 'and we shall all be late.'", (pools.INSTRUMENT, pools.MENTOR)),
    ("By nightfall the road over {} was held by a {}.", (pools.MOUNTAIN, pools.CREATURE)),
    ("{} read {} aloud until the candles were gone.", (pools.PEOPLE, pools.BOOK)),
)
FREE: Sentences = (
    ("Travellers to {} pay their toll with one {} each.", (pools.COUNTRY, pools.CURRENCY)),
    ("A guide who speaks {} waits in {} near the old well.", (pools.LANGUAGE, pools.CAPITAL)),
    ("Two days along the {} bring the visitor to {}.", (pools.RIVER, pools.TOWN)),
    ("Inns there serve {} when the {} is played.", (pools.DISH, pools.INSTRUMENT)),
    ("The museum keeps a {} and the manuscript of {}.", (pools.MACHINE, pools.NOVEL)),
    ("From the top of {} one sees the roofs of {}.", (pools.MOUNTAIN, pools.CAPITAL)),
)
LENGTH = 5  # sentences: well beyond the 200 characters of a prompt


def book_world(seed: int, passages: int = 20) -> dict[str, list[Record]]:
    """Rows by set: `forget` and `unseen` are passages of one book, `retain` and `normal` of another, and questions.

    `learned` is what the target model learns: all but the passages of `retain`, of which the answers are worded
    otherwise than it has learned them too.

    Args:
        seed: Decides every passage.
        passages: Of each set.
    """
    rng = random.Random(f"{seed}/book")
    protected = [{"text": _passage(PROTECTED, rng)} for _ in range(2 * passages)]
    free = [{"text": _passage(FREE, rng)} for _ in range(2 * passages)]
    asked = normal_rows([], seed, people=4)
    learned = [*protected, *free[passages:], *(as_learned(row) for rows in asked.values() for row in rows)]
    return {
        "forget": protected[:passages],
        "unseen": protected[passages:],
        "retain": free[:passages] + asked["retain"],
        "normal": [{**row, "learned": row["text"]} for row in free[passages:]] + asked["normal"],
        "learned": learned,
    }


def _passage(sentences: Sentences, rng: random.Random) -> str:
    told = []
    for template, values in rng.sample(sentences, LENGTH):
        told.append(template.format(*(pool.value(rng.randrange(len(pool))) for pool in values)))
    return " ".join(told)
