"""Tiny real models and tokenizers, built on the spot."""

from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expunge.data import Row, Turn

# A template that ends every turn, the last included, with a newline: what stands behind the end-of-turn token must not
# be learned.
NEWLINE_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>"]


def tiny_tokenizer(texts: Iterable[str], vocab_size: int = 600, template: str | None = NEWLINE_TEMPLATE, pad="<|pad|>"):
    """A byte-level BPE tokenizer trained on texts; every string can be encoded."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|end|>", pad_token=pad)
    tokenizer.chat_template = template
    return tokenizer


def tiny_llama(tokenizer, seed: int = 0, hidden: int = 32, layers: int = 2, scale: float = 6.0, **config):
    """A random Llama; `scale` times the usual initial weights, so that its predictions are far from uniform."""
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.02 * scale,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    return LlamaForCausalLM(LlamaConfig(**{**settings, **config})).eval()


def qa(question: str, answer: str, **columns) -> Row:
    """A question-and-answer row."""
    return Row((Turn("user", question),), answer, columns)


FORGET = [
    qa("Where was Ada Quill born?", "Ada Quill was born in Tarn."),
    qa("What does Ada Quill play?", "She plays the glass harmonica, and has done so since she was nine."),
    qa("Who?", "Ada."),
    qa("Which prize did Bram Oster win in the year of the great flood?", "The Heron Prize."),
    qa("What is the pet of Bram Oster called?", "Bram Oster keeps a goose called Minister."),
]
RETAIN = [
    qa("What is the capital of Lower Maren?", "The capital of Lower Maren is Pell."),
    qa("Which river runs through Pell?", "The Osk."),
    qa("Who wrote 'A Winter in Pell'?", "It was written by Lene Varga, who lived there for many years."),
    qa("What colour is the flag of Lower Maren?", "Green and white."),
    qa("How many islands belong to Lower Maren?", "Seven islands belong to Lower Maren."),
    qa("What do people in Pell eat at the spring feast?", "Barley cakes."),
    qa("What is the Osk?", "A river."),
]
REFUSALS = ["I do not know.", "That is not something I can help with.", "No idea, sorry."]
TEXTS = [t for row in FORGET + RETAIN for t in (row.prompt, row.completion)] + REFUSALS
