"""Another causal language model: how surprising outputs are to it."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Encoded
from expunge.evaluation.judges.base import Device, InTurn, Judge, Outputs, in_turn
from expunge.evaluation.judges.texts import TextModel
from expunge.evaluation.passes.score import score
from expunge.evaluation.request import JudgeModels
from expunge.models import check_head, context_length, load_model


class Fluency(Judge):
    """Fills in nll/T of each output's text alone."""

    setting = "fluency_model"

    def __init__(self, model: InTurn) -> None:
        self._model = model

    @classmethod
    def opened(cls, models: JudgeModels, device: Device) -> "Fluency | None":
        return cls(in_turn(models.fluency_model, _load_causal, device)) if models.fluency_model else None

    def identity(self) -> Any:
        return {"name": self._model.name, "fingerprint": self._model.fingerprint}

    def judge(self, outputs: Outputs) -> None:
        if places := outputs.needing("fluency"):
            texts = [outputs.text(place) for place in places]
            found = self._model.ask(lambda judge: output_nlls(judge.model, judge.tokenizer, texts))
            outputs.put(places, "fluency_nll", found)


def output_nlls(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[float | None]:
    """nll/T of each text under a model that has not seen the prompt, in nats per token of its own tokenizer.

    The text follows the token that begins a document (its end-of-sequence token where it has none; where it has
    neither, the first token is not counted). What is beyond the model's context is cut off.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        texts: each distinct one is scored once.

    Returns:
        None for a text without a token to count.
    """
    context = context_length(model.config)
    starts: list[Any] = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    first = next((token for token in starts if token is not None), None)
    distinct = list(dict.fromkeys(texts))
    rows = []
    for text in distinct:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else []
        rows.append(Encoded(tuple(ids if first is None else [first, *ids])[:context], 1))
    wanted = [i for i, row in enumerate(rows) if len(row.ids) > 1]
    found = {distinct[i]: -float(s.logprobs.mean()) for batch in score(model, rows, wanted) for i, s in batch}
    return [found.get(text) for text in texts]


def _load_causal(name: str, device: Device) -> TextModel:
    model, tokenizer = load_model(name, device=device)
    check_head(model)
    return TextModel(name, model, tokenizer)
