"""A Llama of about a million parameters with its own tokenizer and chat template, made from nothing in a moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

END = "<|end|>"
PAD = "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

# One token opens a turn and one ends it; no white space between, so that no text can merge with the template's.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1024) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE tokenizer from texts. Any text can be encoded, and decodes to itself.

    Args:
        texts: What the merges are learned from. The same texts in the same order give the same tokenizer.
        vocab_size: The most tokens it may have: 256 bytes, 5 special tokens, and merges that occur at least twice.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(
    tokenizer: PreTrainedTokenizerBase,
    seed: int = 0,
    hidden: int = 128,
    layers: int = 4,
    heads: int = 4,
    max_length: int = 1024,
) -> LlamaForCausalLM:
    """A Llama with random weights: the seed and the sizes decide every one of them.

    Args:
        tokenizer: Gives the vocabulary size, the pad token and the end token.
        seed: The global random state is left as it was.
        hidden: Width of the residual stream; the feed-forward layers are 8/3 as wide, as in Llama.
        layers: Number of decoder layers.
        heads: Number of attention heads.
        max_length: Longest context, in tokens.
    """
    import torch
    from transformers import LlamaForCausalLM

    config = llama_config(tokenizer, hidden, layers, heads, max_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float()


def llama_config(
    tokenizer: PreTrainedTokenizerBase, hidden: int, layers: int, heads: int, max_length: int
) -> LlamaConfig:
    """Of a Llama of these sizes; see `tiny_llama`."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=-(-hidden * 8 // 3 // 16) * 16,  # 8/3 of the width, rounded up to a multiple of 16
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_length,
        bos_token_id=None,
        eos_token_id=cast(int, tokenizer.eos_token_id),
        pad_token_id=cast(int, tokenizer.pad_token_id),
        tie_word_embeddings=False,
    )
