"""Fingerprints: two things have the same one only if they are the same, to the bit."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from expunge.data.rows import Row
from expunge.files import whole_file


def fingerprint(model: nn.Module) -> str:
    """Hash every parameter and buffer of a model: names, shapes, types and bits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}".encode())
        flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()


def fingerprint_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash a tokenizer's vocabulary, special tokens and chat template."""
    special = [tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template]
    return fingerprint_json([sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]), special])


def fingerprint_rows(rows: Iterable[Row]) -> str:
    """Hash rows with this machine's salt: the hash of a short text could be guessed otherwise."""
    value = [[[[t.role, t.content] for t in row.turns], row.completion, dict(row.columns)] for row in rows]
    return salted_digest(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))


def fingerprint_json(value: Any) -> str:
    """Hash settings."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def salted_digest(text: str) -> str:
    """Hash a text with this machine's secret salt."""
    return hashlib.blake2b(text.encode(), key=_salt(), digest_size=16).hexdigest()


def _salt() -> bytes:
    home = Path(os.environ.get("EXPUNGE_HOME") or Path.home() / ".cache" / "expunge")
    file = home / "salt"
    if not file.is_file():
        with whole_file(file) as part:
            part.write_bytes(secrets.token_bytes(32))
        file.chmod(0o600)
    return file.read_bytes()
