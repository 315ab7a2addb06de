"""Rows of an exact length and models of any shape, for measurements in which the words do not matter."""

import random

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from expunge.data import Row

WORDS = 500


def word_tokenizer():
    """A tokenizer for which each of `WORDS` words is one token."""
    vocabulary = {"<pad>": 0, "<end>": 1, **{f"w{i}": i + 2 for i in range(WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")


def random_rows(count, length, seed):
    """Plain-text rows of exactly `length` tokens."""
    draw = random.Random(seed)
    return [Row((), " ".join(f"w{draw.randrange(WORDS)}" for _ in range(length))) for _ in range(count)]


def llama(hidden, layers, heads, key_value_heads, inner, vocabulary, dtype=torch.float32):
    """A random Llama, on a GPU where there is one."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        intermediate_size=inner,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return LlamaForCausalLM._from_config(config, dtype=dtype)
