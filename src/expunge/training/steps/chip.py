"""CHIP: what tells forgotten rows from retained ones is projected out of the feed-forward weights, without training."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.errors import InputError
from expunge.models import causal_model
from expunge.models.batching import by_length
from expunge.models.pictures import padding_for, picture_inputs
from expunge.objectives import Objective
from expunge.training.batching import takes
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
BATCH_TOKENS = 4096
NODE = "node"  # column of a forget row that says what it is about
SIBLING = {"relation": "sibling"}  # column of a retain row that stands beside what is forgotten


class Chip(Rule):
    """`train.chip`: projects this share of the neurons onto what does not tell forget rows from their siblings.

    In each gate, up and down projection, the neurons (outputs) are those with the largest mean absolute activation on
    forget rows less that on retain rows, a row's activation being its mean over tokens. Each forgotten node (rows with
    the same column `node`; without it, each row) gives a direction on them, of unit length: its mean activation minus
    that of its retained siblings (rows whose column `relation` is "sibling"; without one, all). The fewest vectors that
    hold `train.chip_energy` of the directions' energy are projected out of the neurons' weights, so that no input has
    an output along them. The released code takes the target's children as nodes, weighs image tokens apart, and changes
    the last six of 28 layers and the part that joins vision to language.
    """

    option = "train.chip=0.1"
    paper = "2512.09867"
    summary = "before training, projects what marks forget rows out of this share of the feed-forward neurons (CHIP)"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return bool(args.chip)

    def check(self, trainer: "UnlearningTrainer") -> None:
        if isinstance(trainer.model, PeftModel):
            raise InputError("train.chip changes the weights below the adapter: it needs full training (no lora).")
        if not takes(trainer.objective.views, "retain"):
            raise InputError("train.chip compares with retain rows: add a term that has them, e.g. +GD.")
        if not _projections(causal_model(trainer.model), trainer.args.chip_layers):
            raise InputError(
                f"train.chip: this model has no {', '.join(PROJECTIONS)} in the layers that train.chip_layers names."
            )

    def before(self, trainer: "UnlearningTrainer") -> None:
        args, model, rows = trainer.args, causal_model(trainer.model), trainer.encoded
        modules = _projections(model, args.chip_layers)
        retained = rows.sources.retain
        beside = [i for i, row in enumerate(retained) if SIBLING.items() <= row.columns.items()]
        forget, retain = (
            activations(model, modules, rows.encode_all([(name, (i,)) for i in range(size)]))
            for name, size in (("forget", trainer.pairing.forget), ("retain", len(retained)))
        )
        nodes: dict[Any, list[int]] = {}
        for i, row in enumerate(rows.sources.forget):
            nodes.setdefault(row.columns.get(NODE, i), []).append(i)
        for name, module in modules.items():
            neurons = marking(forget[name], retain[name], args.chip or 0.0)
            siblings = retain[name][beside or slice(None)].mean(0)
            apart = torch.stack([forget[name][places].mean(0) for places in nodes.values()]) - siblings
            project_out(module, neurons, span(nn.functional.normalize(apart[:, neurons]), args.chip_energy))


def _projections(model: PreTrainedModel, layers: tuple[int, int] | None) -> dict[str, nn.Linear]:
    """The feed-forward projections of the layers from the first to the last named, by name."""
    first, last = layers or (0, float("inf"))
    return {
        name: module
        for name, module in model.get_decoder().named_modules()
        if name.rpartition(".")[2] in PROJECTIONS
        and isinstance(module, nn.Linear)
        and first <= next((int(word) for word in name.split(".") if word.isdigit()), -1) <= last
    }


@torch.no_grad()
def activations(model: PreTrainedModel, modules: dict[str, nn.Linear], rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """What each module puts out on each row, the mean over its tokens, prompts included: [rows, out]."""
    means = {name: torch.zeros(len(rows), module.out_features) for name, module in modules.items()}
    training, device = model.training, next(model.parameters()).device
    model.eval()
    for members in by_length([len(row.ids) for row in rows], BATCH_TOKENS):
        ids = [torch.tensor(rows[i].ids) for i in members]
        shown = [own for i in members if (own := rows[i].pixels)]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=padding_for(shown)).to(device)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in ids], batch_first=True).to(device)

        def keep(name: str, members: list[int] = members, mask: Tensor = mask) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                total = (output.float() * mask[..., None]).sum(1)  # over [rows, tokens, out]
                means[name][members] = (total / mask.sum(1, keepdim=True)).cpu()

            return hook

        handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
        try:
            more = picture_inputs(model, padded, shown, mask) if shown else {}
            model.base_model(input_ids=padded, attention_mask=mask, use_cache=False, **more)
        finally:
            for handle in handles:
                handle.remove()
    model.train(training)
    return means


def marking(forget: Tensor, retain: Tensor, share: float) -> Tensor:
    """The share of neurons whose mean absolute activation on rows [rows, out] is larger on forget rows by most."""
    larger = forget.abs().mean(0) - retain.abs().mean(0)
    return larger.topk(max(1, int(share * len(larger)))).indices.sort().values


def span(directions: Tensor, energy: float) -> Tensor:
    """The fewest orthonormal vectors [k, n] with this share of the squared length of the directions [rows, n]."""
    _, lengths, vectors = torch.linalg.svd(directions.double(), full_matrices=False)
    held = lengths.square().cumsum(0) / lengths.square().sum()
    return vectors[: int((held < energy).sum()) + 1]


@torch.no_grad()
def project_out(module: nn.Linear, neurons: Tensor, basis: Tensor) -> None:
    """W_n <- (I - B^T B) W_n on the rows of the neurons, and their biases: no output lies in the span of B [k, n]."""
    neurons, basis = neurons.to(module.weight.device), basis.to(module.weight.device)
    for weight in (module.weight, module.bias):
        if weight is not None:
            mine = weight[neurons].double()
            weight[neurons] = (mine - basis.T @ (basis @ mine)).to(weight)
