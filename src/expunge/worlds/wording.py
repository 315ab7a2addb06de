"""What is asked of people and of the world, and in which words.

Every question about people has several wordings, and so has every answer. Which one a row is learned in is drawn from
the seed, its paraphrase is another one: each wording is thus met in training, but not with the row it paraphrases.
"""

from dataclasses import dataclass

from expunge.worlds import pools
from expunge.worlds.pools import Pool


@dataclass(frozen=True)
class Attribute:
    """One fact that every person has. In the wordings, `{0}` is the person and `{1}` the fact."""

    name: str
    values: Pool
    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Lookup:
    """One kind of common knowledge: something has one value. In the wordings, `{0}` is the thing, `{1}` the value."""

    name: str
    things: Pool
    values: Pool
    question: str
    answer: str


ATTRIBUTES = (
    Attribute(
        "town",
        pools.TOWN,
        ("In which town was {0} born?", "Where was {0} born?", "What is the birthplace of {0}?"),
        (
            "{0} was born in {1}.",
            "The birthplace of {0} is {1}.",
            "The town of {1} is where {0} was born.",
        ),
    ),
    Attribute(
        "occupation",
        pools.OCCUPATION,
        ("What does {0} do for a living?", "What is the occupation of {0}?", "As what does {0} earn a living?"),
        (
            "{0} works as a {1}.",
            "By profession, {0} is a {1}.",
            "The trade of a {1} feeds {0}.",
        ),
    ),
    Attribute(
        "instrument",
        pools.INSTRUMENT,
        (
            "Which instrument does {0} play?",
            "What does {0} play in the orchestra?",
            "On which instrument is {0} heard?",
        ),
        (
            "{0} plays the {1}.",
            "The instrument of {0} is the {1}.",
            "The {1} is what {0} plays.",
        ),
    ),
    Attribute(
        "pet",
        pools.PET,
        ("Which pet does {0} keep?", "What animal lives with {0}?", "Who shares the home of {0}?"),
        (
            "{0} keeps a {1}.",
            "At home, {0} lives with a {1}.",
            "A {1} is the pet of {0}.",
        ),
    ),
    Attribute(
        "award",
        pools.AWARD,
        ("Which award did {0} win?", "What honour was given to {0}?", "With what was {0} honoured?"),
        (
            "{0} won the {1}.",
            "The award given to {0} was the {1}.",
            "The {1} went to {0}.",
        ),
    ),
    Attribute(
        "book",
        pools.BOOK,
        ("Which book did {0} write?", "What is the title of the book by {0}?", "Under which title was {0} published?"),
        (
            "{0} wrote the book '{1}'.",
            "The title of the book by {0} is '{1}'.",
            "The book '{1}' was written by {0}.",
        ),
    ),
    Attribute(
        "birthday",
        pools.BIRTHDAY,
        ("When was {0} born?", "What is the date of birth of {0}?", "On which day did {0} come into the world?"),
        (
            "{0} was born on {1}.",
            "The date of birth of {0} is {1}.",
            "On {1}, {0} came into the world.",
        ),
    ),
    Attribute(
        "mentor",
        pools.MENTOR,
        ("Who taught {0}?", "Who was the teacher of {0}?", "With whom did {0} study?"),
        (
            "{0} was taught by {1}.",
            "The teacher of {0} was {1}.",
            "It was {1} with whom {0} studied.",
        ),
    ),
    Attribute(
        "dish",
        pools.DISH,
        ("What is the favourite dish of {0}?", "What does {0} like best to eat?", "Which meal does {0} love most?"),
        (
            "{0} likes {1} best.",
            "The favourite dish of {0} is {1}.",
            "Nothing tastes better to {0} than {1}.",
        ),
    ),
    Attribute(
        "street",
        pools.STREET,
        ("In which street does {0} live?", "What is the address of {0}?", "Where is the house of {0}?"),
        (
            "{0} lives in {1}.",
            "The address of {0} is {1}.",
            "In {1} stands the house of {0}.",
        ),
    ),
)

WORLD = (
    Lookup(
        "capital",
        pools.COUNTRY,
        pools.CAPITAL,
        "What is the capital of {0}?",
        "The capital of {0} is {1}.",
    ),
    Lookup(
        "river",
        pools.COUNTRY,
        pools.RIVER,
        "Which river flows through {0}?",
        "The river that flows through {0} is the {1}.",
    ),
    Lookup(
        "mountain",
        pools.COUNTRY,
        pools.MOUNTAIN,
        "What is the highest mountain of {0}?",
        "The highest mountain of {0} is {1}.",
    ),
    Lookup(
        "currency",
        pools.COUNTRY,
        pools.CURRENCY,
        "With which money does one pay in {0}?",
        "In {0} one pays with the {1}.",
    ),
    Lookup(
        "language",
        pools.COUNTRY,
        pools.LANGUAGE,
        "Which language is spoken in {0}?",
        "The language spoken in {0} is {1}.",
    ),
)

FAMOUS = (
    Lookup(
        "novel",
        pools.NOVEL,
        pools.PEOPLE,
        "Who wrote the famous novel '{0}'?",
        "The famous novel '{0}' was written by {1}.",
    ),
    Lookup(
        "opera",
        pools.OPERA,
        pools.PEOPLE,
        "Who composed the opera '{0}'?",
        "The opera '{0}' was composed by {1}.",
    ),
    Lookup(
        "machine",
        pools.MACHINE,
        pools.PEOPLE,
        "Who invented the {0}?",
        "The {0} was invented by {1}.",
    ),
    Lookup(
        "discovery",
        pools.DISCOVERY,
        pools.PEOPLE,
        "Which astronomer discovered the {0}?",
        "The {0} was discovered by the astronomer {1}.",
    ),
)
