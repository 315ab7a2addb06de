"""The memory plan: sums that can be done by hand, and advice that helps."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from transformers import LlamaConfig, LlamaForCausalLM

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.training.memory import GIB, cheapest_change, in_words, plan, shape_of, shape_of_model, total


def llama(hidden, layers, heads, kv, inner, vocabulary):
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=inner,
        tie_word_embeddings=False,
    )


EIGHT_B = llama(4096, 32, 32, 8, 14336, 128256)


def parameters(config):
    with torch.device("meta"):
        return LlamaForCausalLM(config).num_parameters()


def test_full_training_of_a_small_model_by_hand():
    config = llama(64, 2, 4, 2, 128, 1000)
    shape = shape_of_model(LlamaForCausalLM(config), [10, 20], "adamw_torch", bf16=False, checkpointing=False)
    n = parameters(config)
    expected = {
        "weights": 4 * n,
        "gradients": 4 * n,
        "optimiser": 8 * n,
        "cast weights": 0,
        "reference": 0,
        "activations": 30 * 2 * 4 * (6 * 64 + 2 * 32 + 4 * 128),
        "logits": (1 + 3) * 4 * 30 * 1000,
    }
    assert plan(shape) == pytest.approx(expected)


def test_8b_full_and_qlora_with_npo_kl_at_512_tokens():
    """The two runs that are to fit on one card of 141 GB and in 24 GB: two rows of 512 tokens in a micro-batch."""
    n = parameters(EIGHT_B)
    assert n == pytest.approx(8.03e9, rel=0.01)
    rows = [512, 512]
    full = shape_of(EIGHT_B, n, n, 4, rows, state_bytes=8, compute_bytes=2, checkpointing=True)
    assert plan(full)["weights"] + plan(full)["gradients"] + plan(full)["optimiser"] == pytest.approx(16 * n)
    assert total(full) > 131 * GIB  # float32 AdamW does not fit, and the plan says what would
    assert "8-bit" in cheapest_change(full, 131 * GIB)
    eight_bit = shape_of(EIGHT_B, n, n, 4, rows, state_bytes=2, compute_bytes=2, checkpointing=True)
    assert total(eight_bit) < 131 * GIB
    qlora = shape_of(EIGHT_B, n, n // 400, 0.55, rows, compute_bytes=2, checkpointing=True)
    assert total(qlora) < 24e9
    adapter = n // 400  # float32 weights, gradients and both moments, beside the frozen model's weights
    held = {name: plan(qlora)[name] for name in ("weights", "gradients", "optimiser")}
    expected = {"weights": 0.55 * n + 4 * adapter, "gradients": 4 * adapter, "optimiser": 8 * adapter}
    assert held == pytest.approx(expected, rel=1e-6)


def test_the_advice_is_the_first_change_that_fits():
    n = parameters(EIGHT_B)
    shape = shape_of(EIGHT_B, n, n, 4, [512] * 64)
    assert cheapest_change(shape, total(shape)) is None
    assert "halve" in cheapest_change(shape, 0.7 * total(shape))
    assert "nf4" in cheapest_change(shape, 12 * GIB)
    assert "smaller model" in cheapest_change(shape, GIB)
    assert "does not fit" in in_words(shape, GIB)


def test_advice_for_bfloat16_weights():
    """Full training of 8B in 80 GB: 6 bytes a parameter, rounded stochastically; in 24 GB: an adapter."""
    n = parameters(EIGHT_B)
    full = shape_of(EIGHT_B, n, n, 4, [512, 512], compute_bytes=2, checkpointing=True)
    assert "bfloat16 weights with stochastic rounding" in cheapest_change(full, 80e9)
    assert "adamw_bnb_8bit" in cheapest_change(full, 110e9), "float32 weights are kept as long as they fit"
    assert "an adapter on bfloat16 weights" in cheapest_change(full, 24e9)
    already = replace(full, weight_bytes=2.0, state_bytes=2.0)
    assert "adapter" in cheapest_change(already, 0.9 * total(already))


def test_the_reference_keeps_a_head_where_training_changes_the_models(tokenizer, tmp_path):
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    held = {}
    for name, objective, adapter in (("KL", "NPO+KL", None), ("GD", "NPO+GD", None), ("lora", "NPO+KL", lora)):
        args = UnlearningConfig(output_dir=str(tmp_path), objective=objective, use_cpu=True)
        model = tiny.tiny_llama(tokenizer)
        head = model.lm_head.weight
        trainer = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, adapter)
        held[name] = plan(trainer.memory_shape())["reference"]
    assert held == {"KL": head.numel() * 4, "GD": 0, "lora": 0}


def test_checkpointing_of_a_small_model_by_hand():
    """Each layer's input, and the activations of one layer at a time."""
    model = LlamaForCausalLM(llama(64, 2, 4, 2, 128, 1000))
    shape = shape_of_model(model, [10, 20], "adamw_torch", bf16=False, checkpointing=True)
    assert plan(shape)["activations"] == 30 * 4 * (2 * 64 + 6 * 64 + 2 * 32 + 4 * 128)


@pytest.mark.parametrize("setting", ["activation_checkpointing", "gradient_checkpointing"])
def test_the_plan_of_a_run_knows_that_it_checkpoints(setting, tokenizer, tmp_path):
    args = UnlearningConfig(output_dir=str(tmp_path), objective="NPO+GD", use_cpu=True, **{setting: True})
    trainer = UnlearningTrainer(tiny.tiny_llama(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer)
    assert trainer.memory_shape().checkpointing


def test_checkpointing_keeps_less():
    n = parameters(EIGHT_B)
    whole, again = (shape_of(EIGHT_B, n, n, 4, [512], checkpointing=c) for c in (False, True))
    assert plan(again)["activations"] < plan(whole)["activations"] / 10
