"""Rows are tokenised once a run, and never taken for the tokens of other rows."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.cli.purge import purge
from expunge.training.batching import all_keys, encoding
from expunge.training.batching.token_cache import prepare_tokens

FILE = "reference/tokens.safetensors"


def rows_of(folder, tokenizer, forget=tiny.FORGET, retain=tiny.RETAIN, refusals=tiny.REFUSALS, **options):
    """The rows of a trainer, as it has them before training."""
    args = UnlearningConfig(
        output_dir=str(folder), objective="LLMU", num_train_epochs=2, disable_tqdm=True, use_cpu=True, **options
    )
    trainer = UnlearningTrainer(
        tiny.tiny_llama(tokenizer), args, forget, retain, tokenizer, refusals=refusals, objective="DPO+AP"
    )
    return trainer, everything(trainer)


def everything(trainer):
    keys = {view: list(all_keys(view, trainer.pairing, 2)) for view in trainer.objective.views}
    return {(view, key): trainer.encoded.encode(view, key) for view, ks in keys.items() for key in ks}


@pytest.fixture
def never(monkeypatch):
    """A function after whose call no row can be tokenised any more."""

    def refuse(*args, **kwargs):
        raise AssertionError("a row was tokenised again")

    return lambda: monkeypatch.setattr(encoding, "encode_all", refuse)


def test_the_second_process_and_a_resumed_run_tokenise_nothing(tokenizer, tmp_path, never):
    _, first = rows_of(tmp_path, tokenizer)
    never()
    _, second = rows_of(tmp_path, tokenizer)
    assert first == second
    assert all(isinstance(row.ids, tuple) for row in second.values())


def another_tokenizer(**options):
    return tiny.tiny_tokenizer(tiny.TEXTS, **options)


CHANGES = {
    "a forget row": lambda: {"forget": [tiny.qa("Where was Ada Quill born?", "In Pell."), *tiny.FORGET[1:]]},
    "the order of rows": lambda: {"forget": tiny.FORGET[::-1]},
    "a retain row": lambda: {"retain": [*tiny.RETAIN[:-1], tiny.qa("What is the Osk?", "A long river.")]},
    "a refusal": lambda: {"refusals": [*tiny.REFUSALS[:-1], "No."]},
    "the maximum length": lambda: {"max_length": 22},
    "the seed": lambda: {"seed": 7},
    "the template": lambda: {"tokenizer": another_tokenizer(template=None)},
    "the merges": lambda: {"tokenizer": another_tokenizer(vocab_size=400)},
}


@pytest.mark.filterwarnings("ignore:The tokenizer has no chat template", "ignore:.*fill the maximum")
@pytest.mark.parametrize("change", CHANGES)
def test_after_any_change_the_tokens_are_those_of_a_fresh_folder(change, tokenizer, tmp_path):
    _, before = rows_of(tmp_path / "used", tokenizer)
    changed = {"tokenizer": tokenizer, **CHANGES[change]()}
    _, again = rows_of(tmp_path / "used", **changed)
    _, fresh = rows_of(tmp_path / "fresh", **changed)
    assert again == fresh
    assert again != before


def test_merges_alone_make_a_difference(tokenizer, tmp_path):
    """The same vocabulary, ids and template, but words are put together in another order."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = state["model"]["merges"][:20]
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|end|>", pad_token="<|pad|>"
    )
    other.chat_template = tokenizer.chat_template
    assert other.get_vocab() == tokenizer.get_vocab()
    _, before = rows_of(tmp_path, tokenizer)
    _, after = rows_of(tmp_path, other)
    assert before != after


def test_a_tokenizer_with_code_of_its_own_is_asked_every_time(tokenizer, tmp_path):
    class Own(PreTrainedTokenizerFast):
        pass

    own = Own(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    own.chat_template = tokenizer.chat_template
    rows_of(tmp_path, own)
    assert not (tmp_path / FILE).exists()


def test_a_token_takes_four_bytes_on_the_disk_and_a_row_twelve(tokenizer, tmp_path):
    trainer, rows = rows_of(tmp_path / "run", tokenizer)
    prepare_tokens(tmp_path, trainer.encoded, list(rows))
    tensors = load_file(tmp_path / Path(FILE).name)
    assert rows
    assert sum(tensor.nbytes for tensor in tensors.values()) == sum(4 * len(row.ids) + 12 for row in rows.values())


def test_tokens_lie_in_the_run_folder_and_purge_removes_them(tokenizer, tmp_path):
    rows_of(tmp_path / "run", tokenizer)
    assert (tmp_path / "run" / FILE).is_file()
    purge([tmp_path / "run"], dry_run=False)
    assert not (tmp_path / "run" / FILE).exists()
