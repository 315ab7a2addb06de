"""Sentence embeddings: pooled and cut as the model's folder says, against the encoder's own hidden states."""

import json
import sys
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoModel, AutoTokenizer, BertModel

from evaluation.tiny import bert_folder
from expunge.errors import InputError
from expunge.evaluation.judges.embeddings import load_embedder

SHORT, LONG = "ada was born", "the author of a red book was born in the blue city of london"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sentence-embedding model that reads six tokens and takes the first one's vector."""
    encoder = bert_folder(tmp_path / "encoder", BertModel)
    modules = [Transformer(encoder, max_seq_length=6), Pooling(16, pooling_mode="cls")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(tmp_path / "embedder"))
    return tmp_path / "embedder"


@torch.no_grad()
def hidden(folder: Path, text: str, tokens: int) -> torch.Tensor:
    """The encoder's last hidden states of a text that is cut. [tokens, width]"""
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return model(**tokenizer(text, truncation=True, max_length=tokens, return_tensors="pt")).last_hidden_state[0]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a, b, dim=0).item()


def test_pooling_and_length_are_the_folders_own(folder) -> None:
    [found] = load_embedder(str(folder), "cpu").cosines([(SHORT, LONG)])
    assert found == pytest.approx(cosine(hidden(folder, SHORT, 6)[0], hidden(folder, LONG, 6)[0]), abs=1e-5)
    mean = cosine(hidden(folder, SHORT, 6).mean(0), hidden(folder, LONG, 6).mean(0))
    assert abs(found - mean) > 0.01


def test_a_plain_encoder_takes_the_mean_of_as_many_tokens_as_it_reads(tmp_path) -> None:
    folder = Path(bert_folder(tmp_path, BertModel, max_position_embeddings=8))
    [found] = load_embedder(str(folder), "cpu").cosines([(SHORT, LONG)])
    assert len(hidden(folder, LONG, 8)) == 8
    assert found == pytest.approx(cosine(hidden(folder, SHORT, 8).mean(0), hidden(folder, LONG, 8).mean(0)), abs=1e-5)


def test_every_text_is_embedded_once(folder, monkeypatch) -> None:
    embedder, seen = load_embedder(str(folder), "cpu"), []
    encode = type(embedder.model).encode
    monkeypatch.setattr(type(embedder.model), "encode", lambda *a, **k: seen.extend(a[1]) or encode(*a, **k))
    same, other, _ = embedder.cosines([(SHORT, SHORT), (SHORT, LONG), (LONG, SHORT)])
    assert (same, sorted(seen)) == (pytest.approx(1.0), sorted([SHORT, LONG]))
    alike = embedder.cosines([(word, word) for word in ("ada", "port", "sel", "ray", "born", "was", "in", "the")])
    assert max(alike) <= 1
    assert other < 0.999
    assert embedder.cosines([]) == []


@pytest.mark.parametrize("changed", ["pooling", "length", "prompt", "epsilon"])
def test_another_pooling_length_or_prompt_is_another_judge(folder, changed) -> None:
    before = load_embedder(str(folder), "cpu").fingerprint
    assert load_embedder(str(folder), "cpu").fingerprint == before
    file, edit = {
        "pooling": (folder / "1_Pooling" / "config.json", {"pooling_mode": "mean"}),
        "length": (folder / "tokenizer_config.json", {"model_max_length": 5}),
        "prompt": (
            folder / "config_sentence_transformers.json",
            {"prompts": {"query": "ada "}, "default_prompt_name": "query"},
        ),
        "epsilon": (folder / "config.json", {"layer_norm_eps": 1e-3}),
    }[changed]
    file.write_text(json.dumps(json.loads(file.read_text()) | edit))
    assert load_embedder(str(folder), "cpu").fingerprint != before


def test_what_cannot_be_loaded_has_a_message(folder, tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match="cannot be loaded as a sentence-embedding model"):
        load_embedder(str(tmp_path / "nothing"), "cpu")
    weights = folder / "model.safetensors"
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded as a sentence-embedding model"):
        load_embedder(str(folder), "cpu")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"pip install 'expunge\[judges\]'"):
        load_embedder(str(folder), "cpu")


def test_code_that_a_folder_names_is_not_run(folder, tmp_path) -> None:
    (folder / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Module: ...\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "planted.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_embedder(str(folder), "cpu")
    assert not (tmp_path / "ran").exists()
