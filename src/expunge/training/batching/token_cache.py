"""Token ids of every row of a run: worked out once, and kept in the run folder for a resume and for other processes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from expunge.data.chat import Encoded
from expunge.files import whole_file
from expunge.models import fingerprint_code, fingerprint_tokenizer, salted_digest
from expunge.training.batching.encoding import EncodedViews, Name

FILE = "tokens.safetensors"


def prepare_tokens(folder: Path | None, views: EncodedViews, names: Sequence[Name], main: bool = True) -> None:
    """Encode rows, or take their token ids from the folder if they are of the same texts, tokenizer and settings.

    Args:
        folder: Where to keep them; inside the run directory, for they are the texts of the forget set. None: nowhere.
        views: Will have every name encoded.
        names: Views and keys that the run will meet.
        main: Whether this process writes the file; the others should call after it is done.

    Raises:
        InputError: A row's prompt fills the context.
    """
    key = _key(views, names) if folder else None
    if folder is None or key is None:
        views.encode_all(names)
        return
    file = folder / FILE
    if (held := _stored(file, key)) is not None:
        ids, ends, starts = (held[name].tolist() for name in ("ids", "ends", "starts"))
        spans = zip(names, pairwise([0, *ends]), starts, strict=True)
        views.remember(
            {
                (view, key): Encoded(tuple(ids[a:b]), start, views.pixels(view, key))
                for (view, key), (a, b), start in spans
            }
        )
        return
    encoded = views.encode_all(names)
    if main:
        tensors = {
            "ids": np.array([token for row in encoded for token in row.ids], dtype=np.int32),
            "ends": np.array(list(accumulate(len(row.ids) for row in encoded)), dtype=np.int64),
            "starts": np.array([row.start for row in encoded], dtype=np.int32),
        }
        with whole_file(file) as part:
            save_file(tensors, part, {"key": key, "digest": _digest(tensors)})


def _stored(file: Path, key: str) -> dict[str, np.ndarray] | None:
    """The tensors of a file if they are of this key and as they were written."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, "np") as stored:
            metadata = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in ("ids", "ends", "starts")}
    except (OSError, SafetensorError):
        return None
    return tensors if (metadata.get("key"), metadata.get("digest")) == (key, _digest(tensors)) else None


def _digest(tensors: dict[str, np.ndarray]) -> str:
    return hashlib.blake2b(b"".join(tensors[name].tobytes() for name in sorted(tensors)), digest_size=16).hexdigest()


def _key(views: EncodedViews, names: Sequence[Name]) -> str | None:
    """Digest of everything that the ids depend on; None for a tokenizer that may depend on more.

    Salted with this machine's secret, as every digest of texts; another machine finds another key and encodes anew.
    """
    tokenizer, sources = views.tokenizer, views.sources
    if not tokenizer.is_fast or not type(tokenizer).__module__.startswith("transformers."):
        return None
    sets = [
        [[[turn.told for turn in row.turns], row.completion, row.opening] for row in rows]
        for rows in (sources.forget, sources.retain)
    ]
    texts = [sets, list(sources.refusals), views.max_length, asdict(views.style), names]
    code = fingerprint_code("data", "training/batching")
    return salted_digest(json.dumps([texts, fingerprint_tokenizer(tokenizer), code], ensure_ascii=False))
