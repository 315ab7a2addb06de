"""People and towns, enough of them that a share can be told from chance."""

import copy
from itertools import product

import tinymodels as tiny
from expunge.attacks.relearn import finetuning
from expunge.data import encode_all

NAMES = [a + b for a, b in product(("Ad", "Bra", "Cle", "Do", "Es", "Fi", "Gi"), ("ra", "lin", "mo", "vik", "sha"))]
LATER = [a + b for a, b in product(("Hu", "Iv", "Ju", "Ka", "Le", "Mi", "No"), ("ra", "lin", "mo", "vik", "sha"))]
TOWNS = ["Tarn", "Pell", "Osk", "Maren", "Brill", "Quay", "Thorn", "Wick", "Ely", "Cray", "Dunn", "Moss"]


def born(names, shift):
    """A row for each name, towns dealt by number."""
    return [
        tiny.qa(f"Where was {name} born?", f"{name} was born in {town}.", fact=town)
        for i, name in enumerate(names)
        for town in [TOWNS[(i * 5 + i // 3 + shift) % len(TOWNS)]]
    ]


FORGET, RETAIN = born([*NAMES, *(name + "a" for name in NAMES[:5])], 0), born(LATER[:30], 4)
WORDS = tiny.tiny_tokenizer([text for row in FORGET + RETAIN for text in (row.prompt, row.completion)])


def learned(rows, steps, model=None, rate=3e-3, seed=0):
    """A tiny model after so many steps on ten rows each; a new one, or one that is there."""
    model = tiny.tiny_llama(WORDS, seed=seed, hidden=64, scale=2.0) if model is None else model
    for _ in finetuning(model, encode_all(WORDS, [(row, None) for row in rows]), rate, steps, seed):
        pass
    model.zero_grad(set_to_none=True)
    return model


def save(model, folder, template=None):
    """A model folder, with another chat template if one is given."""
    words = copy.deepcopy(WORDS)
    if template:
        words.chat_template = template
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
