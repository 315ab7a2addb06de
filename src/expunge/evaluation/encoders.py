"""The two optional judges: a sentence-embedding model and an NLI model, by Hub name or local folder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from expunge.errors import InputError
from expunge.models import best_device

BATCH_TEXTS = 64
LONGEST_TEXT = 512  # tokens; longer texts are cut, as sentence encoders do


@dataclass(frozen=True)
class Judge:
    """An encoder with its tokenizer; `yes` is the label that means entailment, for an NLI model."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    yes: int | None = None


def load_embedder(name: str, device: str | torch.device | None = None) -> Judge:
    """Load a sentence-embedding model: mean pooling of a transformer's last hidden states.

    Raises:
        InputError: there is no such model.
    """
    return Judge(name, *_load(name, AutoModel, device))


def load_entailer(name: str, device: str | torch.device | None = None) -> Judge:
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
    return Judge(name, model, tokenizer, yes[0])


def cosines(judge: Judge, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Cosine of the embeddings of each pair of texts; every distinct text is embedded once, sorted by length."""
    texts = sorted({text for pair in pairs for text in pair}, key=len, reverse=True)
    vectors: dict[str, np.ndarray] = {}
    for at in range(0, len(texts), BATCH_TEXTS):
        batch = texts[at : at + BATCH_TEXTS]
        vectors.update(zip(batch, _embed(judge, batch), strict=True))
    return [float(vectors[a] @ vectors[b]) for a, b in pairs]


def entailments(judge: Judge, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether the most likely label of each (premise, hypothesis) is entailment; distinct pairs once, by length."""
    distinct = sorted(set(pairs), key=lambda pair: len(pair[0]) + len(pair[1]), reverse=True)
    verdicts: dict[tuple[str, str], bool] = {}
    for at in range(0, len(distinct), BATCH_TEXTS):
        batch = distinct[at : at + BATCH_TEXTS]
        inputs = judge.tokenizer(
            [premise for premise, _ in batch],
            [hypothesis for _, hypothesis in batch],
            padding=True,
            truncation=True,
            max_length=LONGEST_TEXT,
            return_tensors="pt",
        ).to(judge.model.device)
        with torch.inference_mode():
            labels = judge.model(**inputs).logits.argmax(-1).tolist()
        verdicts.update(zip(batch, (label == judge.yes for label in labels), strict=True))
    return [verdicts[pair] for pair in pairs]


@torch.inference_mode()
def _embed(judge: Judge, texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [texts, width]: the mean of the token vectors, padding left out."""
    inputs = judge.tokenizer(
        list(texts), padding=True, truncation=True, max_length=LONGEST_TEXT, return_tensors="pt"
    ).to(judge.model.device)
    hidden = judge.model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None].to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean.float(), dim=-1).cpu().numpy().astype(np.float64)


def _load(name: str, kind: type, device: str | torch.device | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        model = kind.from_pretrained(name, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{name}: cannot be loaded as {kind.__name__.removeprefix('AutoModel')} model. {reason}"
        ) from (error)
    return model.to(device or best_device()).eval(), tokenizer
