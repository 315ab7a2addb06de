"""What is loaded is what the folder describes, or refused by name: no weight is filled in, none is not a number."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import tinymodels as tiny
from expunge.cli.main import main
from expunge.errors import InputError
from expunge.models import load_model

WEIGHT = "model.layers.0.self_attn.q_proj.weight"
LORA = "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"


@pytest.fixture
def folder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


@pytest.fixture
def adapter(model_folder, tokenizer, tmp_path):
    """An adapter folder on the model."""
    model = tiny.tiny_llama(tokenizer)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted.peft_config["default"].base_model_name_or_path = str(model_folder)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def weights(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


def configuration(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def drop(name):
    return lambda tensors: tensors.pop(name)


def rename(name):
    return lambda tensors: tensors.update({name.replace("weight", "wait"): tensors.pop(name)})


def resize(name):
    return lambda tensors: tensors.update({name: torch.zeros(3, 4)})


def spoil(name, value):
    def change(tensors):
        tensors[name].view(-1)[5] = value

    return change


WEIGHTS = {
    "missing": (drop(WEIGHT), f"missing: {WEIGHT}"),
    "renamed": (rename(WEIGHT), f"missing: {WEIGHT}; unexpected: {WEIGHT[:-6]}wait"),
    "of another shape": (resize(WEIGHT), f"of another shape: {WEIGHT} is 3x4, not 32x32"),
    "not a number": (spoil(WEIGHT, float("nan")), f"the weight {WEIGHT} is not finite"),
    "infinite": (spoil("model.norm.weight", float("inf")), "the weight model.norm.weight is not finite"),
}


@pytest.mark.parametrize("fault", WEIGHTS)
def test_weights(fault, folder):
    change, said = WEIGHTS[fault]
    weights(folder / "model.safetensors", change)
    with pytest.raises(InputError) as error:
        load_model(folder, device="cpu")
    assert said in str(error.value)


@pytest.mark.parametrize(("layers", "said"), [(3, "missing: model.layers.2"), (1, "unexpected: model.layers.1")])
def test_more_or_fewer_layers_than_weights(layers, said, folder):
    configuration(folder, num_hidden_layers=layers)
    with pytest.raises(InputError, match=rf"{said}.* and 6 more"):
        load_model(folder, device="cpu")


def test_tied_weights_are_not_missing(tokenizer, tmp_path):
    tied = tiny.tiny_llama(tokenizer, tie_word_embeddings=True)
    tied.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert load_model(tmp_path, device="cpu")[0].lm_head.weight.equal(tied.lm_head.weight)


ADAPTERS = {
    "missing": (drop(LORA), f"missing: {LORA}"),
    "renamed": (rename(LORA), f"missing: {LORA}; unexpected: {LORA[:-6]}wait"),
    "of another shape": (resize(LORA), "size mismatch"),
    "not a number": (spoil(LORA, float("nan")), "the weight model.layers.0.mlp.up_proj.weight is not finite"),
}


@pytest.mark.parametrize("fault", ADAPTERS)
def test_adapters(fault, adapter):
    assert load_model(adapter, device="cpu")
    change, said = ADAPTERS[fault]
    weights(adapter / "adapter_model.safetensors", change)
    with pytest.raises(InputError) as error:
        load_model(adapter, device="cpu")
    assert said in str(error.value)


def more_tokens(folder):
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
    tokenizer.add_tokens(["zebra", "gnu"])
    tokenizer.save_pretrained(folder)


def decoy(folder):
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    torch.save({}, folder / "pytorch_model.bin")


FOLDERS = {
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{"), "its tokenizer cannot be loaded"),
    "empty tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "its tokenizer cannot be loaded"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "its tokenizer cannot be loaded"),
    "tokenizer settings of another kind": (
        lambda f: (f / "tokenizer_config.json").write_text("[]"),
        "its tokenizer cannot be loaded",
    ),
    "more tokens than embeddings": (more_tokens, "2 token(s) beyond the model's embedding of 515 rows, e.g. 'gnu'"),
    "broken template": (
        lambda f: (f / "chat_template.jinja").write_text("{{ nope("),
        "chat template cannot be filled in",
    ),
    "a template that raises": (
        lambda f: (f / "chat_template.jinja").write_text("{{ raise_exception('not here') }}"),
        "chat template cannot be filled in (not here)",
    ),
    "a width of text": (lambda f: configuration(f, hidden_size="wide"), "'hidden_size' expected int"),
    "a list of types": (lambda f: configuration(f, model_type=["llama"]), "cannot be loaded"),
    "an unknown activation": (lambda f: configuration(f, hidden_act="nope"), "cannot be loaded"),
    "a configuration of another kind": (lambda f: (f / "config.json").write_text("[]"), "cannot be loaded"),
    "an empty configuration": (lambda f: (f / "config.json").write_text(""), "cannot be loaded"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "cannot be loaded"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "there are no weights in it"),
    "a decoy beside a pickle": (decoy, "its weights are pickled (pytorch_model.bin)"),
}


@pytest.mark.parametrize("fault", FOLDERS)
def test_folders(fault, folder, data, tmp_path, monkeypatch, capsys):
    """Through the command line, which must not show a traceback."""
    change, said = FOLDERS[fault]
    change(folder)
    words = ["loss", "--model", folder, "--forget", data / "forget.jsonl", "--objective", "GA"]
    monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert said in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1


def test_a_decoy_beside_a_pickled_adapter(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "decoy.safetensors")
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(InputError, match="pickled"):
        load_model(adapter, device="cpu")


def test_a_padding_token_beyond_the_embedding_is_no_reason(folder):
    """As some published models have one, which nothing uses."""
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
    tokenizer.add_special_tokens({"pad_token": "<another pad>"})
    tokenizer.save_pretrained(folder)
    assert load_model(folder, device="cpu")
