"""4-bit weights below an adapter: the gradient is that of the dequantised weights, on every CPU."""

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.errors import InputError
from expunge.models import load_model

bitsandbytes = pytest.importorskip("bitsandbytes")

# A matrix of 128 columns is what bitsandbytes can pack; with 32, packing itself fails.
WIDTHS = [32, 128]


@pytest.fixture(scope="module")
def folders(tokenizer, tmp_path_factory):
    """Model folders by width."""
    made = {}
    for width in WIDTHS:
        made[width] = tmp_path_factory.mktemp(f"wide{width}")
        tiny.tiny_llama(tokenizer, hidden=width, scale=3.0).save_pretrained(made[width])
        tokenizer.save_pretrained(made[width])
    return made


@pytest.fixture(params=[True, False], ids=["AVX512-BF16", "another CPU"])
def detected(request, monkeypatch):
    """What bitsandbytes finds out about the CPU when a layer is made."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: request.param)


def four_bit_layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)}


def dequantized(folder):
    """The model that the 4-bit weights stand for, in float32."""
    plain, packed = load_model(folder, device="cpu")[0], load_model(folder, device="cpu", quantization="nf4")[0]
    layers = four_bit_layers(packed)
    assert len(layers) == 14
    for name, layer in layers.items():
        weight = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        plain.get_submodule(name).weight.data.copy_(weight)
    return plain


def adapter_after_training(model, tokenizer, folder):
    args = UnlearningConfig(
        output_dir=str(folder),
        objective="NPO+KL",
        learning_rate=1e-2,
        per_device_train_batch_size=5,
        gradient_accumulation_steps=1,
        num_train_epochs=2,
        warmup_steps=0,
        adam_epsilon=1e-3,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, lora)
    trainer.train()
    return {name: p.detach() for name, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("width", WIDTHS)
def test_an_adapter_learns_what_it_learns_on_the_dequantised_weights(width, detected, folders, tokenizer, tmp_path):
    model, _ = load_model(folders[width], device="cpu", quantization="nf4")
    with torch.no_grad():  # as a measurement before training does
        model.eval()(input_ids=torch.tensor([[5, 6, 7]]))
    found = adapter_after_training(model, tokenizer, tmp_path / "4-bit")
    expected = adapter_after_training(dequantized(folders[width]), tokenizer, tmp_path / "float")
    assert found.keys() == expected.keys()
    assert all(value.abs().max() > 1e-4 for name, value in found.items() if "lora_B" in name)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)


def test_weights_that_are_packed_already_are_refused(folders, tokenizer, tmp_path):
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(folders[128], quantization_config=config, device_map={"": "cpu"})
    for layer in four_bit_layers(model).values():
        layer.weight.data, layer.weight.quant_state = bitsandbytes.functional._convert_weight_packed_for_cpu(
            layer.weight.data, layer.weight.quant_state
        )
    with pytest.raises(InputError, match=r"q_proj: bitsandbytes has packed .* no gradient"):
        adapter_after_training(model, tokenizer, tmp_path)
