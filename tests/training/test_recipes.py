"""Every recipe that comes with expunge validates, and takes two steps on a tiny model of its architecture."""

import json

import pytest
import torch
import typer.testing

from expunge.cli.main import app
from expunge.data import encode
from expunge.errors import InputError
from expunge.models import Request, check_head, hidden_states
from expunge.shipped import shipped_recipes
from expunge.training import read_recipe
from thinned import thinned
from tinymodels import FORGET

from .architectures import KINDS, tiny

ARCHITECTURE = {
    "tofu-llama": "llama",
    "tofu-qwen3": "qwen3",
    "tofu-gemma-3": "gemma3",
    "tofu-phi-4": "phi3",
    "real-people-llama": "llama",
    "wmdp-zephyr": "mistral",
    "removal": "llama",
}


def architecture(recipe):
    return next(kind for start, kind in ARCHITECTURE.items() if recipe.startswith(start))


@pytest.fixture(scope="module")
def targets(tokenizer, tmp_path_factory):
    """A tiny model folder of each architecture, deep enough for the layers that recipes name."""
    folders = {}
    for kind in KINDS:
        folders[kind] = tmp_path_factory.mktemp(kind)
        tiny(kind, tokenizer, layers=9 if kind == "mistral" else 2).save_pretrained(folders[kind])
        tokenizer.save_pretrained(folders[kind])
    return folders


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipe_validates(name):
    result = typer.testing.CliRunner().invoke(app, ["validate", name])
    assert result.exit_code == 0, result.output
    assert "valid" in result.output


# the others of a family differ in numbers alone
OFTEN = (
    *("tofu-llama-3.2-1b", "tofu-llama-2-7b-me-gd-10", "tofu-llama-2-7b-idk-ap-10", "tofu-gemma-3-1b-lora"),
    *("tofu-phi-4-mini", "wmdp-zephyr-7b-rmu", "removal"),
)


@pytest.mark.parametrize("name", thinned(shipped_recipes(), *OFTEN))
def test_recipe_takes_two_steps(name, targets, data, tmp_path):
    kind = architecture(name)
    out = tmp_path / "run"
    words = ["unlearn", name, "--model", targets[kind], "--idk", data / "idk.txt", "--out", out, "--quiet"]
    words += ["--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    words += ["train.max_steps=2", "train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=1"]
    words += ["train.bf16=false", "train.use_cpu=true"]
    recipe = read_recipe(name, {})
    words += ["--anchor", targets[kind]] if recipe.anchor else []
    words += ["--holdout", data / "forget.jsonl"] if recipe.holdout else []
    result = typer.testing.CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    log = [json.loads(line) for line in (out / "train_log.jsonl").read_text().splitlines()]
    assert len(log) == 2
    assert all(entry["grad_norm"] > 0 for entry in log)
    assert (out / ("adapter" if recipe.lora else "model")).is_dir()


@pytest.mark.parametrize(("percent", "rows"), [("01", 40), ("05", 200), ("10", 400)])
@pytest.mark.parametrize("objective", ["me-gd", "idk-ap"])
def test_the_closer_look_takes_whole_steps_and_no_warmup_where_an_epoch_has_one(objective, percent, rows):
    train = read_recipe(f"tofu-llama-2-7b-{objective}-{percent}", {}).train
    taken = train["max_steps"] * 32
    assert taken <= 5 * rows < taken + 32
    assert train["warmup_steps"] == (rows // 32 if rows >= 64 else 0)
    assert train["dataloader_drop_last"]


def test_misspelt_recipe_gets_a_suggestion():
    with pytest.raises(InputError, match=r"Did you mean 'tofu-llama-3\.2-1b'"):
        read_recipe("tofu-lama-3.2-1b", {})


def test_words_that_are_no_recipe_are_told_apart():
    invoke = typer.testing.CliRunner().invoke
    for words, said in (
        (["tofu-lama-3.2-1b"], "Did you mean 'tofu-llama-3.2-1b'"),
        (["tofu-llama-3.2-1b", "tofu-llama-3.2-3b"], "Two recipes"),
        (["train.learning_rate"], "SECTION.KEY=VALUE"),
    ):
        result = invoke(app, ["unlearn", *words])
        assert result.exit_code
        assert said in str(result.exception)


@pytest.mark.parametrize("kind", KINDS)
def test_head_gives_the_models_own_logits(kind, tokenizer):
    check_head(tiny(kind, tokenizer))


@pytest.mark.parametrize("kind", KINDS)
def test_forward_stopped_at_a_layer_gives_that_layers_output(kind, tokenizer):
    model = tiny(kind, tokenizer, layers=3)
    row = encode(tokenizer, FORGET[0])
    seen = []
    hook = model.get_decoder().layers[1].register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        model(input_ids=torch.tensor([row.ids]), use_cache=False)
        hook.remove()
        (found,) = hidden_states(model, [Request([row], [], layer=1)])
    torch.testing.assert_close(found, seen[0][0, row.start :])
    assert len(model.get_decoder().layers) == 3
