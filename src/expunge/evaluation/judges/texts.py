"""Encoders and classifiers of texts, by Hub name or local folder, and what they say of many texts at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from expunge.errors import InputError, unknown
from expunge.models import best_device

BATCH_TEXTS = 64
LONGEST_TEXT = 512  # tokens; longer texts are cut, as sentence encoders do


@dataclass(frozen=True)
class TextModel:
    """A model with its tokenizer; `yes` is the output asked for: entailment, a classifier's label, the reward."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    yes: int = 0


def load_embedder(name: str, device: str | torch.device | None = None) -> TextModel:
    """Load a sentence-embedding model: mean pooling of a transformer's last hidden states.

    Raises:
        InputError: there is no such model.
    """
    return TextModel(name, *_load(name, AutoModel, device))


def load_entailer(name: str, device: str | torch.device | None = None) -> TextModel:
    """Load an NLI model, a sequence classifier one of whose labels is called entailment.

    Raises:
        InputError: there is no such model, or no or several labels mean entailment.
    """
    model, tokenizer = _load(name, AutoModelForSequenceClassification, device)
    labels = {int(i): str(label) for i, label in model.config.id2label.items()}
    yes = [i for i, label in labels.items() if label.lower().replace("-", "_") in ("entailment", "entail")]
    if len(yes) != 1:
        raise InputError(
            f"{name}: its labels are {', '.join(labels.values())}; an NLI model needs one called 'entailment'."
        )
    return TextModel(name, model, tokenizer, yes[0])


def load_classifier(name: str, label: str, device: str | torch.device | None = None) -> TextModel:
    """Load a sequence classifier and find one of its labels.

    Raises:
        InputError: there is no such model, or it has no such label.
    """
    model, tokenizer = _load(name, AutoModelForSequenceClassification, device)
    labels = {str(known): int(i) for i, known in model.config.id2label.items()}
    found = next((known for known in labels if known.lower() == label.lower()), None)
    if found is None:
        raise unknown(f"label of {name}", label, labels)
    return TextModel(name, model, tokenizer, labels[found])


def load_reward_model(name: str, device: str | torch.device | None = None) -> TextModel:
    """Load a reward model: a sequence classifier with one output.

    Raises:
        InputError: there is no such model, or it has several outputs.
    """
    model, tokenizer = _load(name, AutoModelForSequenceClassification, device)
    if model.config.num_labels != 1:
        raise InputError(
            f"{name}: a reward model has one output, this one has {model.config.num_labels}. The share of one of its "
            "labels is measured with --classifier NAME=MODEL:LABEL."
        )
    return TextModel(name, model, tokenizer)


def cosines(embedder: TextModel, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Cosine of the embeddings of each pair of texts; every distinct text is embedded once, sorted by length."""
    texts = sorted({text for pair in pairs for text in pair}, key=len, reverse=True)
    vectors: dict[str, np.ndarray] = {}
    for at in range(0, len(texts), BATCH_TEXTS):
        batch = texts[at : at + BATCH_TEXTS]
        vectors.update(zip(batch, _embed(embedder, batch), strict=True))
    return [float(vectors[a] @ vectors[b]) for a, b in pairs]


def classify(classifier: TextModel, texts: Sequence[tuple[str, ...]]) -> list[Tensor]:
    """A classifier's outputs [labels] for each text or pair of texts; distinct ones once, longest first."""
    distinct = sorted(set(texts), key=lambda parts: sum(map(len, parts)), reverse=True)
    paddable = classifier.tokenizer.pad_token is not None and classifier.model.config.pad_token_id is not None
    size = BATCH_TEXTS if paddable else 1  # nothing to pad with: each text alone
    found: dict[tuple[str, ...], Tensor] = {}
    for at in range(0, len(distinct), size):
        batch = distinct[at : at + size]
        inputs = classifier.tokenizer(
            *map(list, zip(*batch, strict=True)),
            padding=size > 1,
            truncation=True,
            max_length=LONGEST_TEXT,
            return_tensors="pt",
        ).to(classifier.model.device)
        with torch.inference_mode():
            found.update(zip(batch, classifier.model(**inputs).logits.float().cpu(), strict=True))
    return [found[parts] for parts in texts]


@torch.inference_mode()
def _embed(embedder: TextModel, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [texts, width]: the mean of the token vectors, padding left out."""
    inputs = embedder.tokenizer(
        list(texts), padding=True, truncation=True, max_length=LONGEST_TEXT, return_tensors="pt"
    ).to(embedder.model.device)
    hidden = embedder.model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None].to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy().astype(np.float64)


def _load(name: str, kind: type, device: str | torch.device | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        model, found = kind.from_pretrained(name, use_safetensors=True, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{name}: cannot be loaded as {kind.__name__.removeprefix('AutoModel')} model. {reason}"
        ) from (error)
    if kind is AutoModelForSequenceClassification and (missing := sorted(found["missing_keys"])):
        # transformers fills them with random numbers, and says no more than a warning.
        raise InputError(f"{name}: not a trained sequence classifier: it has no weights {', '.join(missing)}.")
    return model.to(device or best_device()).eval(), tokenizer
