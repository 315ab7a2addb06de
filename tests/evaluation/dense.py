"""A readable reference: one row at a time, no padding, no cache, full logits, nothing shared."""

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from expunge.data import Row, encode, encode_prompt


@torch.no_grad()
def token_logprobs(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Row, text: str) -> torch.Tensor:
    """log p_t over the vocabulary at each completion token, [T, vocabulary] in float64, with the targets [T]."""
    encoded = encode(tokenizer, row, text)
    logits = model(torch.tensor([encoded.ids])).logits[0].double()
    return logits.log_softmax(-1)[encoded.start - 1 : -1], torch.tensor(encoded.ids[encoded.start :])


def nll(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Row, text: str) -> float:
    """nll/T of one answer."""
    logp, targets = token_logprobs(model, tokenizer, row, text)
    return float(-logp.gather(-1, targets[:, None]).mean())


@torch.no_grad()
def greedy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Row, new_tokens: int) -> str:
    """The greedy answer, the whole row run again for each token."""
    ids = encode_prompt(tokenizer, row)
    start = len(ids)
    while len(ids) - start < new_tokens:
        token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


@torch.no_grad()
def embedding(folder: str, text: str) -> torch.Tensor:
    """The unit vector of a text alone: the mean of an encoder's last hidden states."""
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    return torch.nn.functional.normalize(
        model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0), dim=-1
    )
