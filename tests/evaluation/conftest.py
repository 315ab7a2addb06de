"""Tiny real models, built on the spot: a Llama with a word-level tokenizer and chat template, a BERT, an NLI BERT."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from expunge.data import Row, Turn

WORDS = "who where what is was the a of city author born in paris rome berlin london ada bob eve dan book red blue".split()
SPECIAL = ["<unk>", "<bos>", "<eos>", "<user>", "<bot>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<user> ' + m['content'] + ' <bot>' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' <eos>' }}{% endif %}{% endfor %}"
)


def word_tokenizer(special: list[str], **names: str) -> PreTrainedTokenizerFast:
    """One token per word, split at white space."""
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The causal model's tokenizer; its padding token is its end token, as in many models."""
    names = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<eos>"}
    made = word_tokenizer(SPECIAL, **names)
    made.chat_template = TEMPLATE
    return made


def tiny_model(seed: int = 0) -> LlamaForCausalLM:
    """A two-layer Llama with random weights, large enough in scale that its distributions are far from uniform."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def model() -> LlamaForCausalLM:
    """The model under evaluation. Tests that change weights make their own with `tiny_model`."""
    return tiny_model()


def _bert_folder(folder: Path, kind: type, **settings) -> str:
    torch.manual_seed(0)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    config = BertConfig(
        vocab_size=len(special) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=1,
        initializer_range=0.5,
        **settings,
    )
    kind(config).eval().save_pretrained(folder)
    word_tokenizer(special, **names).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random sentence encoder."""
    return _bert_folder(tmp_path_factory.mktemp("embedder"), BertModel)


@pytest.fixture(scope="session")
def nli_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random three-way NLI classifier whose entailment label is not the first."""
    labels = {0: "contradiction", 1: "neutral", 2: "ENTAILMENT"}
    return _bert_folder(tmp_path_factory.mktemp("nli"), BertForSequenceClassification, id2label=labels)


def question_rows(names: list[str]) -> list[Row]:
    """Rows with every column of TOFU's layout, of different lengths."""
    cities = ["paris", "rome", "berlin", "london"]
    rows = []
    for i, name in enumerate(names):
        city, *others = cities[i % 4 :] + cities[: i % 4]
        columns = {
            "paraphrased_answer": f"the city of {name} is {city}",
            "perturbed_answer": [f"{name} was born in {other}" + " city" * i for other in others],
            "original_answer": f"{name} was born in {city}",
        }
        rows.append(Row((Turn("user", f"where was {name} born" + " the author" * i),), f"{name} was born in {city}", columns))
    return rows


@pytest.fixture(scope="session")
def sets() -> dict[str, list[Row]]:
    """All four sets of the TOFU layout, small."""
    return {
        "forget": question_rows(["ada", "bob", "eve"]),
        "retain": question_rows(["dan", "eve"]),
        "real_authors": question_rows(["bob", "author"]),
        "world_facts": question_rows(["city", "book"]),
    }
