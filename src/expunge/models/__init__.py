"""Models: loading, fingerprints, and the one forward that training and evaluation share."""

from expunge.models.fingerprint import (
    fingerprint,
    fingerprint_json,
    fingerprint_rows,
    fingerprint_tokenizer,
    salted_digest,
)
from expunge.models.forward import Request, TokenFunction, final_hidden, token_values
from expunge.models.head import FrozenHead, check_head
from expunge.models.load import best_device, is_adapter, load_model, resolve_folder

__all__ = [
    "FrozenHead",
    "Request",
    "TokenFunction",
    "best_device",
    "check_head",
    "final_hidden",
    "fingerprint",
    "fingerprint_json",
    "fingerprint_rows",
    "fingerprint_tokenizer",
    "is_adapter",
    "load_model",
    "resolve_folder",
    "salted_digest",
    "token_values",
]
