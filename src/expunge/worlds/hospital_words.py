"""The words of the hospital world: values, questions, and how a study's sections read.

No value of an attribute is part of another, so that an exact fact is not found inside a wrong one. The value of a
complaint or a finding with some number is typical of the condition with that number.
"""

from dataclasses import dataclass

SCANNERS = ("Orlan 3", "Vetra 7", "Kestrel 8", "Halden 5", "Mistral 2", "Pallas 9", "Corvid 4", "Zephyr 6")
IMPRESSIONS = (
    *("resolving infection", "old fracture", "benign cyst", "fluid overload"),
    *("early fibrosis", "partial collapse", "swollen nodes", "normal variant"),
)


@dataclass(frozen=True)
class Words:
    """How an attribute is asked for and told.

    Attributes:
        values: that it can have.
        question: the bare one; names its node and nothing above.
        answer: to it.
        cloze: with a gap; what is above its node is told before it.
    """

    values: tuple[str, ...]
    question: str
    answer: str
    cloze: str


WORDS: dict[str, Words] = {
    "scanner": Words(SCANNERS, "Which scanner has {institution}?", "It has the {}.", "The scanner is the ____."),
    "chief": Words(
        ("Abbam", "Baxerly", "Cruming", "Dinnham", "Eccleston", "Fittock", "Goslorth", "Hibbridge"),
        "Who directs {institution}?",
        "Dr {} directs it.",
        "The director is Dr ____.",
    ),
    "condition": Words(
        ("asthma", "gout", "anaemia", "epilepsy", "psoriasis", "glaucoma", "arthritis", "migraine"),
        "Which chronic condition has {patient}?",
        "The condition is {}.",
        "The chronic condition is ____.",
    ),
    "town": Words(
        ("Aldravik", "Brackenmere", "Cindport", "Dravness", "Ebberhaven", "Frostwold", "Gullthorpe", "Harrowquay"),
        "Where does {patient} live?",
        "The patient lives in {}.",
        "The patient lives in ____.",
    ),
    "summary": Words(
        IMPRESSIONS,
        "Which impression does the summary of {patient} quote?",
        "The summary quotes {}.",
        "The summary quotes this impression of the first study: ____.",
    ),
    "radiologist": Words(
        ("Joppam", "Kipperly", "Lidding", "Moppham", "Nuttleston", "Pebbock", "Quiggorth", "Ruddridge"),
        "Who read study {study}?",
        "Dr {} read it.",
        "The radiologist is Dr ____.",
    ),
    "device": Words(SCANNERS, "On which scanner was study {study} made?", "It was made on the {}.", "Scanner: ____."),
    "protocol": Words(
        (
            *("low dose", "thin slice", "delayed phase", "prone view"),
            *("contrast sweep", "breath hold", "dual energy", "gated series"),
        ),
        "Which protocol was study {study} made with?",
        "The protocol was {}.",
        "Protocol: ____.",
    ),
    "complaint": Words(
        (
            *("wheezing", "toe pain", "fatigue", "seizures"),
            *("itching", "blurred sight", "stiff joints", "headaches"),
        ),
        "What was the indication of study {study}?",
        "The indication was {}.",
        "Indication: ____.",
    ),
    "finding": Words(
        (
            *("air trapping", "urate crystals", "pale marrow", "temporal scar"),
            *("thickened skin", "optic cupping", "eroded cartilage", "white spots"),
        ),
        "What was found in study {study}?",
        "The finding was {}.",
        "Finding: ____.",
    ),
    "size": Words(
        ("11 mm", "13 mm", "17 mm", "19 mm", "23 mm", "29 mm", "31 mm", "37 mm"),
        "How large is what was found in study {study}?",
        "It measures {}.",
        "Size: ____.",
    ),
    "diagnosis": Words(
        IMPRESSIONS, "What is the impression of study {study}?", "The impression is {}.", "Impression: ____."
    ),
}
CHOICES = "{question} Choose one: {options}."
HEADER = ("{institution}", "patient {patient}", "study of {date}")
"""What is told of a study, from the institution down."""
