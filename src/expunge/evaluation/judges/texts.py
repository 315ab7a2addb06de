"""Classifiers of texts, by Hub name or local folder, and what they say of many texts at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from expunge.errors import InputError, unknown
from expunge.models import (
    best_device,
    context_length,
    fingerprint,
    fingerprint_config,
    fingerprint_json,
    fingerprint_tokenizer,
)

BATCH_TEXTS = 64
LONGEST_TEXT = 512  # tokens; longer texts are cut


@dataclass(frozen=True)
class TextModel:
    """A model with its tokenizer; `yes` is the output asked for: entailment, a classifier's label, the reward."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    yes: int = 0

    @property
    def fingerprint(self) -> str:
        """Of all that its numbers depend on: weights, configuration and tokenizer."""
        tokenizer = fingerprint_tokenizer(self.tokenizer), self.tokenizer.model_max_length
        return fingerprint_json([fingerprint(self.model), fingerprint_config(self.model), *tokenizer])


def load_entailer(name: str, device: str | torch.device | None = None) -> TextModel:
    """Load an NLI model, a sequence classifier one of whose labels is called entailment.

    Raises:
        InputError: there is no such model, or no or several labels mean entailment.
    """
    model, tokenizer = _load(name, device)
    labels = {int(i): str(label) for i, label in (model.config.id2label or {}).items()}
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
    model, tokenizer = _load(name, device)
    labels = {str(known): int(i) for i, known in (model.config.id2label or {}).items()}
    found = next((known for known in labels if known.lower() == label.lower()), None)
    if found is None:
        raise unknown(f"label of {name}", label, labels)
    return TextModel(name, model, tokenizer, labels[found])


def load_reward_model(name: str, device: str | torch.device | None = None) -> TextModel:
    """Load a reward model: a sequence classifier with one output.

    Raises:
        InputError: there is no such model, or it has several outputs.
    """
    model, tokenizer = _load(name, device)
    if model.config.num_labels != 1:
        raise InputError(
            f"{name}: a reward model has one output, this one has {model.config.num_labels}. The share of one of its "
            "labels is measured with --classifier NAME=MODEL:LABEL."
        )
    return TextModel(name, model, tokenizer)


def classify(classifier: TextModel, texts: Sequence[tuple[str, ...]]) -> list[Tensor]:
    """A classifier's outputs [labels] for each text or pair of texts; distinct ones once, longest first."""
    distinct = sorted(set(texts), key=lambda parts: sum(map(len, parts)), reverse=True)
    paddable = classifier.tokenizer.pad_token is not None and classifier.model.config.pad_token_id is not None
    size = BATCH_TEXTS if paddable else 1  # nothing to pad with: each text alone
    found: dict[tuple[str, ...], Tensor] = {}
    for at in range(0, len(distinct), size):
        batch = distinct[at : at + size]
        inputs = classifier.tokenizer(
            [parts[0] for parts in batch],
            [parts[1] for parts in batch] if len(batch[0]) > 1 else None,
            padding=size > 1,
            truncation=True,
            max_length=longest(classifier),
            return_tensors="pt",
        ).to(classifier.model.device)
        with torch.inference_mode():
            found.update(zip(batch, classifier.model(**inputs).logits.float().cpu(), strict=True))
    return [found[parts] for parts in texts]


def longest(classifier: TextModel) -> int:
    """The most tokens a model reads: its own limit, and no more than LONGEST_TEXT."""
    own = context_length(classifier.model.config) or LONGEST_TEXT
    return min(LONGEST_TEXT, own, classifier.tokenizer.model_max_length)


def _load(name: str, device: str | torch.device | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            name, use_safetensors=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: cannot be loaded as a sequence classifier. {reason}") from error
    if missing := sorted(found["missing_keys"]):
        # transformers fills them with random numbers, and says no more than a warning.
        raise InputError(f"{name}: not a trained sequence classifier: it has no weights {', '.join(missing)}.")
    return model.to(device or best_device()).eval(), tokenizer
