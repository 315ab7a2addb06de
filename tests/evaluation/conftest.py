"""Fixtures of the evaluation tests; what they are made of is in tiny.py."""

import json
from pathlib import Path

import pytest
from transformers import BertForSequenceClassification, BertModel, LlamaForCausalLM, PreTrainedTokenizerFast

from evaluation.tiny import bert_folder, causal_tokenizer, four_sets, question_rows, tiny_model
from expunge.data import Row


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The causal model's tokenizer."""
    return causal_tokenizer()


@pytest.fixture(scope="session")
def model() -> LlamaForCausalLM:
    """The model under evaluation. Tests that change weights make their own with `tiny_model`."""
    return tiny_model()


@pytest.fixture(scope="session")
def sets() -> dict[str, list[Row]]:
    """All four sets of the TOFU layout, small."""
    return four_sets()


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random sentence encoder."""
    return bert_folder(tmp_path_factory.mktemp("embedder"), BertModel)


@pytest.fixture(scope="session")
def nli_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a random NLI classifier whose entailment label is not the first."""
    labels = {0: "contradiction", 1: "ENTAILMENT", 2: "neutral"}
    return bert_folder(tmp_path_factory.mktemp("nli"), BertForSequenceClassification, id2label=labels)


@pytest.fixture
def folder(tmp_path: Path, sets: dict[str, list[Row]]) -> Path:
    """The four sets as a data folder in TOFU's layout."""
    path = tmp_path / "data"
    path.mkdir()
    for name, configuration in (
        ("forget", "forget10"),
        ("retain", "retain"),
        ("real_authors",) * 2,
        ("world_facts",) * 2,
    ):
        lines = [json.dumps({"question": row.prompt, "answer": row.completion, **row.columns}) for row in sets[name]]
        (path / f"{configuration}_perturbed.json").write_text("\n".join(lines))
    holdout = [json.dumps({"question": row.prompt, "answer": row.completion}) for row in question_rows(["city", "red"])]
    (path / "holdout10.json").write_text("\n".join(holdout))
    return path
