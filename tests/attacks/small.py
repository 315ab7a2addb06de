"""Tiny models that know some rows, trained on the spot."""

from collections.abc import Sequence

import tinymodels as tiny
from expunge.attacks.relearn import finetuning
from expunge.data import Row, encode_all

NAMES = ("Ada", "Bram", "Cleo", "Dov", "Esme", "Finn", "Gita", "Hugo", "Ines", "Juno", "Kai", "Lena")
TOWNS = ("Tarn", "Pell", "Osk", "Maren", "Brill", "Quay", "Thorn", "Wick", "Ely", "Cray", "Dunn", "Moss")
PEOPLE = [
    tiny.qa(f"Where was {name} born?", f"{name} was born in {town}.", fact=town)
    for name, town in zip(NAMES, TOWNS, strict=True)
]
UNSEEN = [
    tiny.qa(f"Where was {name} born?", f"{name} was born in {town}.", fact=town)
    for name, town in zip(NAMES, (*TOWNS[5:], *TOWNS[:5]), strict=True)
]
"""The same questions with other people's towns: what no model learned."""


def words():
    """The tokenizer of all of them."""
    return tiny.tiny_tokenizer(tiny.TEXTS)


def learned(rows: Sequence[Row], steps: int = 150, seed: int = 0):
    """A tiny model that was trained on rows."""
    tokenizer = words()
    model = tiny.tiny_llama(tokenizer, seed=seed, scale=2.0)
    for _ in finetuning(model, encode_all(tokenizer, [(row, None) for row in rows]), 3e-3, steps, seed):
        pass
    model.zero_grad(set_to_none=True)
    return model


def suppressed(rows: Sequence[Row], steps: int = 10):
    """A model that was trained on rows and then, for a few steps, to refuse them: what it knew lies below."""
    model = learned(rows)
    refused = [tiny.qa(row.prompt, tiny.REFUSALS[0]) for row in rows]
    for _ in finetuning(model, encode_all(words(), [(row, None) for row in refused]), 1e-3, steps, 0):
        pass
    model.zero_grad(set_to_none=True)
    return model
