"""Along which directions a matrix's inputs lie: second moments over some rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.models import output_head
from expunge.models.batching import by_length

BATCH_TOKENS = 4096


@torch.no_grad()
def input_moments(model: PreTrainedModel, rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """Mean of x x' over all tokens of the rows, x being the inputs of each linear layer, by the name of its weight.

    Of the input embedding, whose inputs are tokens, the diagonal: the share of each token [vocabulary]. Other weights
    (experts that are one tensor, convolutions) have none. On the host, in float64: in x in numbers for each matrix.

    Args:
        model: The causal language model itself.
        rows: At least one.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    embedding, head = cast(Tensor, model.get_input_embeddings().weight), output_head(model).weight
    found = {names[id(embedding)]: torch.zeros(len(embedding), dtype=torch.float64)}
    real = torch.empty(0)

    def add(name: str, inputs: Tensor) -> None:
        x = inputs.flatten(0, -2)[real]
        x = (x.cpu() if x.device.type == "mps" else x).double()  # which has no float64
        found[name] = found.get(name, 0.0) + (x.T @ x).cpu()

    def hook(name: str, module: nn.Module, given: tuple[Any, ...]) -> None:
        if given[0].dim() == 3:  # not what a router handed to an expert
            add(name, given[0])

    linear = {m: names[id(m.weight)] for m in model.get_decoder().modules() if isinstance(m, nn.Linear)}
    with _hooked({module: partial(hook, name) for module, name in linear.items()}), _evaluating(model):
        for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
            ids = nn.utils.rnn.pad_sequence([torch.tensor(rows[i].ids) for i in members], batch_first=True)
            lengths = torch.tensor([len(rows[i].ids) for i in members])
            real = (torch.arange(ids.shape[1]) < lengths[:, None]).flatten()
            found[names[id(embedding)]] += torch.bincount(ids.flatten()[real], minlength=len(embedding))
            real = real.to(model.device)
            # padded on the right, under causal attention: no real token sees the padding
            hidden = model.get_decoder()(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
            if head is not embedding:
                add(names[id(head)], hidden)
    tokens = sum(len(row.ids) for row in rows)
    return {name: moment / tokens for name, moment in found.items()}


@contextmanager
def _hooked(hooks: dict[nn.Module, Any]) -> Iterator[None]:
    handles = [module.register_forward_pre_hook(hook) for module, hook in hooks.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
