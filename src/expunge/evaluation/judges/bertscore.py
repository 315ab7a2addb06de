"""Token embeddings of an encoder: BERTScore of outputs with the original model's (arXiv 1904.09675).

As the released library counts: special tokens may be matched but are in no mean, the layer is the one asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from expunge.errors import InputError
from expunge.evaluation.judges.base import Device, InTurn, Judge, Outputs, in_turn
from expunge.evaluation.judges.texts import BATCH_TEXTS, TextModel, longest
from expunge.evaluation.request import JudgeModels
from expunge.metrics.bertscore import greedy_f1
from expunge.models import best_device


class BertScore(Judge):
    """Fills in the F1 of outputs and the original model's."""

    setting = "bertscore_model"

    def __init__(self, encoder: InTurn, layer: int) -> None:
        self._encoder, self._layer = encoder, layer

    @classmethod
    def opened(cls, models: JudgeModels, device: Device) -> "BertScore | None":
        if models.bertscore_model is None:
            return None
        name, layer = parse_encoder(models.bertscore_model)
        return cls(in_turn(name, load_encoder, device, str(layer)), layer)

    def identity(self) -> Any:
        return {"name": self._encoder.name, "fingerprint": self._encoder.fingerprint, "layer": self._layer}

    def judge(self, outputs: Outputs) -> None:
        pairs = [
            (place, outputs.text(place), original)
            for place in outputs.needing("bert_score")
            if (original := outputs.original_text(place)) is not None
        ]
        texts = [text for _, *both in pairs for text in both]
        known = self._encoder.ask(lambda encoder: embedded(encoder, texts, self._layer)) if texts else {}
        outputs.put([place for place, *_ in pairs], "bert_score_f1", [f1(known, a, b) for _, a, b in pairs])


@dataclass(frozen=True)
class Tokens:
    """A text's tokens: unit vectors [n, width], and which are the text's own [n]."""

    vectors: np.ndarray
    own: np.ndarray


def f1(known: dict[str, Tokens], one: str, other: str) -> float:
    """BERTScore of two texts; 0 where one alone is empty, 1 where both are."""
    if not (one.strip() and other.strip()):
        return float(one.strip() == other.strip())
    a, b = known[one], known[other]
    return greedy_f1(a.vectors, b.vectors, (a.own, b.own))


def embedded(encoder: TextModel, texts: Sequence[str], layer: int) -> dict[str, Tokens]:
    """The tokens of each distinct text that is not empty.

    Args:
        encoder: longer texts than it reads are cut.
        texts: to embed.
        layer: whose output; -1: the last one's.
    """
    distinct = sorted({text for text in texts if text.strip()}, key=len, reverse=True)
    found: dict[str, Tokens] = {}
    for at in range(0, len(distinct), BATCH_TEXTS):
        batch = distinct[at : at + BATCH_TEXTS]
        inputs = encoder.tokenizer(
            [text.strip() for text in batch],
            padding=True,
            truncation=True,
            max_length=longest(encoder),
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        special = inputs.pop("special_tokens_mask").bool()
        with torch.inference_mode():
            told = encoder.model(**inputs.to(encoder.model.device), output_hidden_states=True).hidden_states[layer]
        unit = torch.nn.functional.normalize(told.float(), dim=-1).cpu().double().numpy()
        for i, text in enumerate(batch):
            there = inputs["attention_mask"][i].bool().cpu()
            found[text] = Tokens(unit[i][there.numpy()], ~special[i][there].numpy())
    return found


def parse_encoder(given: str) -> tuple[str, int]:
    """Read `MODEL` or `MODEL:LAYER`; without a layer, the last one."""
    name, _, layer = given.rpartition(":")
    return (name, int(layer)) if name and layer.isdecimal() else (given, -1)


def load_encoder(name: str, layer: str, device: Device = None) -> TextModel:
    """Load an encoder; its weights must be safetensors.

    Raises:
        InputError: there is no such model, or it has no such layer.
    """
    try:
        model = AutoModel.from_pretrained(name, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: cannot be loaded as an encoder. {reason}") from error
    if int(layer) > model.config.num_hidden_layers:
        raise InputError(f"{name}: has {model.config.num_hidden_layers} layers, and no layer {layer}.")
    return TextModel(name, model.to(device or best_device()).eval(), tokenizer)
