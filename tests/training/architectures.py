"""Tiny random models of the architectures that recipes are made for."""

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen3Config,
)

KINDS = {
    "llama": (LlamaConfig, {}),
    "qwen3": (Qwen3Config, {"head_dim": 8}),
    "gemma3": (Gemma3TextConfig, {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}),
    "phi3": (Phi3Config, {}),
    "mistral": (MistralConfig, {"sliding_window": None}),
}


def tiny(kind, tokenizer, layers=2):
    """A model of that architecture, 32 wide, with weights large enough to tell its outputs apart."""
    config, extra = KINDS[kind]
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "initializer_range": 0.1,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return AutoModelForCausalLM.from_config(config(**{**settings, **extra})).eval()
