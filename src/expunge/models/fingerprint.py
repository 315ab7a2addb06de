"""Fingerprints: two things have the same one only if they are the same, to the bit."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import expunge
from expunge.data.processors import processor_of
from expunge.data.rows import Row
from expunge.errors import InputError
from expunge.files import whole_file

# Versions of libraries that turn texts into token ids.
TOKENIZING = ("transformers", "tokenizers", "jinja2")
# Keys of a configuration that no number depends on: where it is from, and what a forward returns or keeps.
NO_NUMBER = {
    "_from_model_config",
    "_name_or_path",
    "architectures",
    "chunk_size_feed_forward",
    "dtype",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
SALT_BYTES = 32


def fingerprint(model: nn.Module) -> str:
    """Hash every parameter and buffer of a model: names, shapes, types and bits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()


def fingerprint_config(model: PreTrainedModel) -> str:
    """Hash what a model's numbers depend on beside its weights: class, configuration, generation configuration."""
    generation = model.generation_config.to_dict() if model.can_generate() and model.generation_config else {}
    return fingerprint_json([type(model).__name__, _numeric(model.config.to_dict()), _numeric(generation)])


def fingerprint_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash all of a tokenizer that token ids depend on: vocabulary, merges, normaliser, pre-tokenizer, post-processor,
    added and special tokens, chat template; and the processor beside it, on which pictures depend. Padding and
    truncation are set by each call and are left out."""
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    decoded = [tokenizer.split_special_tokens, tokenizer.clean_up_tokenization_spaces, tokenizer.all_special_ids]
    settings = [type(tokenizer).__name__, special, tokenizer.chat_template, decoded]
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return fingerprint_json([settings, sorted(tokenizer.get_vocab().items()), tokenizer.init_kwargs])
    if processor := processor_of(tokenizer):
        settings.append(json.loads(processor.to_json_string()))
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return fingerprint_json([settings, {k: v for k, v in backend.items() if k not in ("padding", "truncation")}])


def _numeric(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration, and those inside it, without the keys that no number depends on."""
    kept = {key: value for key, value in config.items() if key not in NO_NUMBER}
    return {key: _numeric(value) if isinstance(value, dict) else value for key, value in kept.items()}


def fingerprint_rows(rows: Iterable[Row]) -> str:
    """Hash rows with this machine's salt: the hash of a short text could be guessed otherwise."""
    value = [[[turn.told for turn in r.turns], r.opening, r.completion, dict(r.columns)] for r in rows]
    return salted_digest(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))


def fingerprint_json(value: Any) -> str:
    """Hash settings."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


@cache
def fingerprint_code(*places: str) -> str:
    """Hash expunge's own source in these packages or files, and the versions of the libraries that tokenise."""
    home = Path(expunge.__file__).parent
    digest = hashlib.blake2b(" ".join(map(version, TOKENIZING)).encode(), digest_size=16)
    for file in sorted({file for place in places for file in (home / place).rglob("*.py")}):
        digest.update(str(file.relative_to(home)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def salted_digest(text: str) -> str:
    """Hash a text with this machine's secret salt."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=_salt(), digest_size=16).hexdigest()


def _salt() -> bytes:
    home = Path(os.environ.get("EXPUNGE_HOME") or Path.home() / ".cache" / "expunge")
    file = home / "salt"
    if not file.is_file():
        with whole_file(file, mode=0o600) as part:
            part.write_bytes(secrets.token_bytes(SALT_BYTES))
    salt = file.read_bytes()
    if len(salt) != SALT_BYTES:
        raise InputError(f"{file}: not the {SALT_BYTES} secret bytes that digests of texts need. Remove the file.")
    return salt
