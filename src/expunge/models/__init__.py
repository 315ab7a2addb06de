"""Models: loading, fingerprints, and the one forward that training and evaluation share."""

from expunge.models.attach import attach_views, causal_model, run_views
from expunge.models.context import context_length
from expunge.models.fingerprint import (
    fingerprint,
    fingerprint_code,
    fingerprint_config,
    fingerprint_json,
    fingerprint_rows,
    fingerprint_tokenizer,
    salted_digest,
)
from expunge.models.forward import (
    Request,
    TokenFunction,
    decoder_layer,
    decoder_layers,
    hidden_states,
    last_norm,
    token_values,
)
from expunge.models.head import FrozenHead, check_head, output_head
from expunge.models.load import (
    ModelOrPlace,
    base_below,
    best_device,
    check_same_tokenizer,
    is_adapter,
    kept_style,
    load_model,
    loaded,
    moved,
    no_bars_in_logs,
    resolve_folder,
    save_tokenizer,
)
from expunge.models.packing import packs_rows
from expunge.models.pictures import sees
from expunge.models.quantized import keep_unpacked, without_bitsandbytes

__all__ = [
    "FrozenHead",
    "ModelOrPlace",
    "Request",
    "TokenFunction",
    "attach_views",
    "base_below",
    "best_device",
    "causal_model",
    "check_head",
    "check_same_tokenizer",
    "context_length",
    "decoder_layer",
    "decoder_layers",
    "fingerprint",
    "fingerprint_code",
    "fingerprint_config",
    "fingerprint_json",
    "fingerprint_rows",
    "fingerprint_tokenizer",
    "hidden_states",
    "is_adapter",
    "keep_unpacked",
    "kept_style",
    "last_norm",
    "load_model",
    "loaded",
    "moved",
    "no_bars_in_logs",
    "output_head",
    "packs_rows",
    "resolve_folder",
    "run_views",
    "salted_digest",
    "save_tokenizer",
    "sees",
    "token_values",
    "without_bitsandbytes",
]
