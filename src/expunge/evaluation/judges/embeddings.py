"""Sentence embeddings, pooled and cut as the model's own folder says, by the sentence-transformers library."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from transformers import PreTrainedModel

from expunge.errors import InputError
from expunge.evaluation.judges.base import Device
from expunge.models import (
    best_device,
    fingerprint,
    fingerprint_config,
    fingerprint_json,
    fingerprint_tokenizer,
    without_bitsandbytes,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TEXTS = 64


@dataclass(frozen=True)
class Embedder:
    """A sentence-embedding model and the name it was given by."""

    name: str
    model: "SentenceTransformer"

    @property
    def fingerprint(self) -> str:
        """Of all that its vectors depend on: weights, configuration, tokenizer, pooling, length, prompts."""
        model = self.model
        settings = [[type(m).__qualname__, m.get_config_dict()] for m in cast(Iterable[Any], model)]
        read_as = [model.max_seq_length, model.prompts, model.default_prompt_name, model.truncate_dim]
        inner = [m for m in model.modules() if isinstance(m, PreTrainedModel)]
        inside = [*map(fingerprint_config, inner), fingerprint_tokenizer(model.tokenizer)]
        return fingerprint_json([fingerprint(model), inside, settings, read_as])

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Cosine of the embeddings of each pair of texts; every distinct text is embedded once."""
        texts = sorted({text for pair in pairs for text in pair})
        if not texts:
            return []
        found = self.model.encode(texts, batch_size=BATCH_TEXTS, normalize_embeddings=True, show_progress_bar=False)
        vectors = dict(zip(texts, np.asarray(found, dtype=np.float64), strict=True))
        # They were normalised in float32, so that a text and itself may have a little more than 1.
        return [float(np.clip(vectors[a] @ vectors[b], -1, 1)) for a, b in pairs]


def load_embedder(name: str, device: Device = None) -> Embedder:
    """Load a sentence-embedding model; a plain encoder is pooled by the mean, at its own longest input.

    Raises:
        InputError: there is no such model, its weights are pickled, or the library is not installed.
    """
    try:
        with without_bitsandbytes():  # it imports PEFT
            from sentence_transformers import SentenceTransformer
    except ImportError:
        raise InputError("--embedding-model needs sentence-transformers: pip install 'expunge[judges]'.") from None
    try:
        with without_bitsandbytes():
            model = SentenceTransformer(
                name,
                device=str(device or best_device()),
                local_files_only=Path(name).is_dir(),
                model_kwargs={"use_safetensors": True},
            )
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: cannot be loaded as a sentence-embedding model. {reason}") from error
    return Embedder(name, model.eval())
