"""How surprising outputs are to another causal language model."""

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Encoded
from expunge.evaluation.scorer import score


def output_nlls(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[float | None]:
    """nll/T of each text under a model that has not seen the prompt, in nats per token of its own tokenizer.

    The text follows the token that begins a document (its end-of-sequence token where it has none; where it has
    neither, the first token is not counted). What is beyond the model's context is left aside.

    Args:
        model: in evaluation mode.
        tokenizer: its own.
        texts: each distinct one is scored once.

    Returns:
        None for a text without a token to count.
    """
    context = model.config.get_text_config().to_dict().get("max_position_embeddings")
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    distinct = list(dict.fromkeys(texts))
    rows = []
    for text in distinct:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else []
        rows.append(Encoded(tuple(ids if first is None else [first, *ids])[:context], 1))
    wanted = [i for i, row in enumerate(rows) if len(row.ids) > 1]
    found = {distinct[i]: -float(s.logprobs.mean()) for batch in score(model, rows, wanted) for i, s in batch}
    return [found.get(text) for text in texts]
