"""Model folders with faults: one line that names the folder, exit code 2, whatever command meets them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import tinymodels as tiny
from expunge.cli.main import main

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
MATRIX = "model.layers.0.self_attn.q_proj.weight"
Change = Callable[[Path], object]


def text(name: str, content: str) -> Change:
    return lambda folder: (folder / name).write_text(content)


def raw(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def half(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


def settings(name: str, **values) -> Change:
    return lambda folder: (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | values))


def config(**values) -> Change:
    return settings(CONFIG, **values)


def without(name: str, key: str) -> Change:
    def change(folder):
        values = json.loads((folder / name).read_text())
        del values[key]
        (folder / name).write_text(json.dumps(values))

    return change


def tensors(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder):
        held = load_file(folder / WEIGHTS)
        edit(held)
        save_file(held, folder / WEIGHTS, {"format": "pt"})

    return change


def a_folder(name: str) -> Change:
    def change(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def nowhere(name: str) -> Change:
    def change(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / "nowhere")

    return change


def sharded(**places: str) -> Change:
    """An index in place of the weights."""

    def change(folder):
        names = load_file(folder / WEIGHTS)
        shutil.copy(folder / WEIGHTS, folder.parent / "outside.safetensors")
        (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors") | places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return change


def adapter(**values) -> Change:
    """An adapter folder in place of the model's; its settings are then changed."""

    def change(folder):
        base = folder.with_name("base")
        folder.rename(base)
        tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
        adapted = get_peft_model(tiny.tiny_llama(tokenizer), LoraConfig(r=2, target_modules="all-linear"))
        adapted.peft_config["default"].base_model_name_or_path = str(base)
        adapted.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        settings("adapter_config.json", **values)(folder)

    return change


def both(first: Change, second: Change) -> Change:
    return lambda folder: (first(folder), second(folder))


FAULTS: dict[str, Change] = {
    "configuration missing": gone(CONFIG),
    "configuration empty": text(CONFIG, ""),
    "configuration without content": text(CONFIG, "{}"),
    "configuration null": text(CONFIG, "null"),
    "configuration a list": text(CONFIG, "[]"),
    "configuration not text": raw(CONFIG, b"\xff\xfe\x00"),
    "configuration cut": half(CONFIG),
    "configuration a folder": a_folder(CONFIG),
    "configuration deep": text(CONFIG, '{"a":' * 3000 + "1" + "}" * 3000),
    "no model type": without(CONFIG, "model_type"),
    "unknown model type": config(model_type="nothing"),
    "model type a number": config(model_type=7),
    "width of text": config(hidden_size="wide"),
    "width zero": config(hidden_size=0),
    "width negative": config(hidden_size=-32),
    "width huge": config(hidden_size=10**12),
    "layers negative": config(num_hidden_layers=-1),
    "layers null": config(num_hidden_layers=None),
    "heads that do not divide": config(num_attention_heads=5),
    "heads zero": config(num_attention_heads=0),
    "vocabulary smaller": config(vocab_size=10),
    "vocabulary larger": config(vocab_size=10_000),
    "unknown activation": config(hidden_act="nothing"),
    "positions of text": config(rope_parameters={"rope_type": "nothing"}),
    "unknown type of numbers": config(dtype="float99"),
    "an encoder": config(model_type="bert", architectures=["BertModel"]),
    "tokenizer missing": gone(TOKENIZER),
    "tokenizer empty": text(TOKENIZER, ""),
    "tokenizer without content": text(TOKENIZER, "{}"),
    "tokenizer cut": half(TOKENIZER),
    "tokenizer not text": raw(TOKENIZER, b"\x80\x81"),
    "tokenizer settings a list": text("tokenizer_config.json", "[]"),
    "tokenizer settings cut": half("tokenizer_config.json"),
    "template broken": text("chat_template.jinja", "{% for"),
    "template that raises": text("chat_template.jinja", "{{ raise_exception('no') }}"),
    "template without an end": text("chat_template.jinja", "{% for i in range(10**9) %}a{% endfor %}"),
    "template not text": raw("chat_template.jinja", b"\xff\xfe"),
    "weights missing": gone(WEIGHTS),
    "weights empty": raw(WEIGHTS, b""),
    "weights cut": half(WEIGHTS),
    "weights of noise": raw(WEIGHTS, bytes(range(256)) * 50),
    "weights with a header beyond the file": raw(WEIGHTS, b"\xff" * 8 + b"{}"),
    "weights with a header that is not JSON": raw(WEIGHTS, (8).to_bytes(8, "little") + b"nothing!"),
    "weights a folder": a_folder(WEIGHTS),
    "weights that lead nowhere": nowhere(WEIGHTS),
    "a weight missing": tensors(lambda t: t.pop(MATRIX)),
    "a weight renamed": tensors(lambda t: t.update({"model.nothing": t.pop(MATRIX)})),
    "a weight of another shape": tensors(lambda t: t.update({MATRIX: t[MATRIX][:3].clone()})),
    "a weight without numbers": tensors(lambda t: t.update({MATRIX: torch.zeros(0)})),
    "a weight not a number": tensors(lambda t: t[MATRIX].fill_(float("nan"))),
    "an index broken": both(sharded(), text("model.safetensors.index.json", "{")),
    "an index of a file that is not there": sharded(**{MATRIX: "model-00002.safetensors"}),
    "an index without the map": both(sharded(), text("model.safetensors.index.json", "{}")),
    "generation settings broken": text("generation_config.json", "{"),
    "generation settings a list": text("generation_config.json", "[]"),
    "adapter settings broken": both(adapter(), text("adapter_config.json", "{")),
    "adapter settings a list": both(adapter(), text("adapter_config.json", "[]")),
    "adapter of an unknown kind": adapter(peft_type="NOTHING"),
    "adapter of a rank of text": adapter(r="two"),
    "adapter of another rank": adapter(r=3),
    "adapter for modules that are not there": adapter(target_modules=["nothing"]),
    "adapter of a model that is not there": adapter(base_model_name_or_path="/nowhere/at/all"),
    "adapter without a model": adapter(base_model_name_or_path=None),
    "adapter without weights": both(adapter(), gone("adapter_model.safetensors")),
    "adapter with cut weights": both(adapter(), half("adapter_model.safetensors")),
}
QUICK = 6
COMMANDS = {
    "loss": ("--forget", "--objective", "GA"),
    "eval": ("--data", "--suite", "own", "--out", "made.json"),
    "finetune": ("--data", "--out", "made", "--quiet"),
    "unlearn": ("--forget", "--objective", "GA", "--out", "made", "--quiet"),
}


@pytest.fixture
def folder(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "model")


@pytest.mark.fault("model folders")
@pytest.mark.parametrize(
    ("fault", "command"),
    [
        pytest.param(fault, list(COMMANDS)[i % 4], marks=() if i % (len(FAULTS) // QUICK) == 3 else pytest.mark.slow)
        for i, fault in enumerate(FAULTS)
    ],
)
def test_a_folder_with_a_fault_is_named_in_one_line(fault, command, folder, data, tmp_path, monkeypatch, capsys):
    FAULTS[fault](folder)
    monkeypatch.chdir(tmp_path)
    option, *more = COMMANDS[command]
    words = [command, "--model", folder, option, data / "forget.jsonl", *more]
    monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err
    assert stop.value.code == 2, said
    assert str(tmp_path) in said or "/nowhere/at/all" in said
    assert len(said.splitlines()) == 1, said
    assert not list(tmp_path.glob("*made*"))
