"""Judges of texts, by Hub name or local folder: sentence embeddings, entailment, classifiers, a reward model."""

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
from expunge.metrics import Label
from expunge.models import best_device

BATCH_TEXTS = 64
LONGEST_TEXT = 512  # tokens; longer texts are cut, as sentence encoders do


@dataclass(frozen=True)
class Judge:
    """An encoder with its tokenizer; `yes` is the output asked for: entailment, a classifier's label, the reward."""

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


def load_classifier(name: str, label: str, device: str | torch.device | None = None) -> Judge:
    """Load a sequence classifier and find one of its labels.

    Raises:
        InputError: there is no such model, or it has no such label.
    """
    model, tokenizer = _load(name, AutoModelForSequenceClassification, device)
    labels = {str(known): int(i) for i, known in model.config.id2label.items()}
    found = next((known for known in labels if known.lower() == label.lower()), None)
    if found is None:
        raise unknown(f"label of {name}", label, labels)
    return Judge(name, model, tokenizer, labels[found])


def load_reward_model(name: str, device: str | torch.device | None = None) -> Judge:
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
    return Judge(name, model, tokenizer, 0)


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
    return [bool(logits.argmax() == judge.yes) for logits in _logits(judge, pairs)]


def labels(judge: Judge, texts: Sequence[str]) -> list[Label]:
    """What a classifier says of each text; an empty one carries no label.

    Labels that exclude each other share a softmax, and a text carries its most likely one; others (`problem_type` is
    multi_label_classification, or there is one output) have a sigmoid each, and are carried from 0.5 on.
    """
    asked = [text for text in texts if text.strip()]
    config = judge.model.config
    apart = config.problem_type == "multi_label_classification" or config.num_labels == 1
    found: dict[str, Label] = {}
    for text, logits in zip(asked, _logits(judge, [(text,) for text in asked]), strict=True):
        share = float((logits.sigmoid() if apart else logits.softmax(-1))[judge.yes])
        found[text] = Label(share, share >= 0.5 if apart else bool(logits.argmax() == judge.yes))
    return [found.get(text, Label(0.0, False)) for text in texts]


def rewards(judge: Judge, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The score of each (prompt, output)."""
    return [float(logits[judge.yes]) for logits in _logits(judge, pairs)]


def _logits(judge: Judge, texts: Sequence[tuple[str, ...]]) -> list[Tensor]:
    """A classifier's outputs [labels] for each text or pair of texts; distinct ones once, longest first."""
    distinct = sorted(set(texts), key=lambda parts: sum(map(len, parts)), reverse=True)
    paddable = judge.tokenizer.pad_token is not None and judge.model.config.pad_token_id is not None
    size = BATCH_TEXTS if paddable else 1  # nothing to pad with: each text alone
    found: dict[tuple[str, ...], Tensor] = {}
    for at in range(0, len(distinct), size):
        batch = distinct[at : at + size]
        inputs = judge.tokenizer(
            *map(list, zip(*batch, strict=True)),
            padding=size > 1,
            truncation=True,
            max_length=LONGEST_TEXT,
            return_tensors="pt",
        ).to(judge.model.device)
        with torch.inference_mode():
            found.update(zip(batch, judge.model(**inputs).logits.float().cpu(), strict=True))
    return [found[parts] for parts in texts]


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
