"""A new tiny model for given rows: what `expunge finetune --init tiny` starts from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from expunge.data.rows import Row
from expunge.errors import InputError
from expunge.worlds.tiny import tiny_llama, train_tokenizer

# A model of a million parameters needs a rate near 3e-3, and a long warm-up to converge at it.
TINY_TRAINING: dict[str, Any] = {
    "learning_rate": 3e-3,
    "num_train_epochs": 30,
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 0.2,
    "lr_scheduler_type": "cosine",
}

# The same for every objective, weights 1 (LLMU: its paper's). A model of a million parameters needs a far larger rate
# than one of a billion. Of 1e-4 to 1e-3 with ten to thirty passes, tried on three seeds with ME+GD and IDK+AP: larger
# rates cost IDK+AP more than a tenth of the utility; with more steps GD brings some of the facts back that ME took.
TINY_UNLEARNING: dict[str, Any] = {
    "learning_rate": 2e-4,
    "num_train_epochs": 15,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "save_strategy": "no",
}

VOCABULARY = 4096


def new_tiny(rows: Sequence[Row], tokenizer: str | Path | None = None, seed: int = 42) -> tuple[Any, Any]:
    """A random tiny Llama, or LLaVA for rows with pictures, and a tokenizer, trained on the rows or taken from another
    model.

    Args:
        rows: What the model will learn.
        tokenizer: A model folder or Hub name whose tokenizer to take. The retain model must have its target's, or
            their probabilities, and with them forget quality, cannot be compared.
        seed: Of the weights.

    Returns:
        The model and its tokenizer.
    """
    if tokenizer is None:
        texts = [text for row in rows for text in (*(turn.content for turn in row.turns), row.completion)]
        words = train_tokenizer(texts, VOCABULARY)
    else:
        from transformers import AutoTokenizer

        try:
            words = AutoTokenizer.from_pretrained(str(tokenizer))
        except (OSError, ValueError) as error:
            raise InputError(f"--tokenizer {tokenizer}: no tokenizer there ({str(error).splitlines()[0]}).") from error
    if any(turn.pictures for row in rows for turn in row.turns):
        from expunge.worlds.tiny_llava import tiny_llava, with_pictures

        words = with_pictures(words)
        return tiny_llava(words, seed), words
    return tiny_llama(words, seed), words
