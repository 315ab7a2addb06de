"""Removal: weights go part of the way back to an anchor before the retain set is learned again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from expunge.data import Encoded
from expunge.errors import InputError
from expunge.models import ModelOrPlace, base_below, causal_model, fingerprint, loaded, output_head
from expunge.objectives import RESET, Objective
from expunge.objectives.reset import towards
from expunge.training.config import UnlearningConfig
from expunge.training.steps.base import Rule
from expunge.training.steps.moments import input_moments

if TYPE_CHECKING:
    from expunge.training.trainer import UnlearningTrainer

FRESH = "fresh"  # in an anchor's place: fresh weights, whatever they cost
# Fresh weights are drawn under another seed than the run's, with which the target may have begun.
ANCHOR_SEED = 1_000_003
# Fresh weights know nothing. Up to so many parameters for each token of the retain set, a model can have learned from
# the retain set what it knows: the models of docs/removal.md have tens, pretrained ones thousands.
MOST_PARAMETERS_PER_TOKEN = 1000
PRETRAINING_TOKENS = 20  # for each parameter (Hoffmann et al., 2203.15556)


class Reset(Rule):
    """`objective.reset`, with the objective RESET: W <- (1 - reset) W + reset W_anchor."""

    option = "objective.reset=0.7"
    paper = "1910.08475"
    summary = "before training, moves matrices so far towards fresh weights or those of an anchor model"

    @staticmethod
    def asked(args: UnlearningConfig, objective: Objective) -> bool:
        return bool((term := reset_term(objective)) and term.reset != 0)

    def check(self, trainer: "UnlearningTrainer") -> None:
        name = trainer.objective.name
        if _term(trainer).reset is None:
            raise InputError(
                f"{name}: objective.reset is not given. `expunge unlearn` chooses it, in one process (no --launch); "
                "else give it: 0.7 for a model learned from nothing, 0.8 towards its base (docs/removal.md)."
            )
        if isinstance(trainer.model, PeftModel):
            raise InputError(
                f"{name} changes the weights below the adapter: it needs full training (no lora), or objective.reset=0."
            )
        if others := [rule.option for rule in trainer.rules if rule is not self]:
            raise InputError(f"{name} cannot be combined with {others[0]}: leave one of them out.")
        if not list(chosen_matrices(trainer.model, _term(trainer))):
            raise InputError(f"{name}: objective.modules and objective.layers choose no matrix of this model.")
        if trainer.anchor is None:
            _check_fresh(trainer)

    @torch.no_grad()
    def before(self, trainer: "UnlearningTrainer") -> None:
        model = causal_model(trainer.model)
        if trainer.anchor in (None, FRESH):
            anchor = fresh_weights(model, trainer.args.seed)
        else:
            other, _ = loaded(trainer.anchor, trainer.processing_class)
            anchor = anchor_weights(model, other)
            trainer.anchor_fingerprint = fingerprint(other) if trainer.is_world_process_zero() else None
        forget, retain = rows_of(trainer, "forget"), rows_of(trainer, "retain")
        moments = None
        if _term(trainer).along == "forget":
            moments = input_moments(model, retain), input_moments(model, forget)
        move(model, anchor, _term(trainer), only_forgotten(forget, retain), moments)


def reset_term(objective: Objective) -> RESET | None:
    """The objective's RESET term, if it has one."""
    return next((part.term for part in objective.terms if isinstance(part.term, RESET)), None)


def _term(trainer: "UnlearningTrainer") -> RESET:
    term = reset_term(trainer.objective)
    assert term is not None  # the rule is asked for with it alone
    return term


def check_anchor(objective: Objective, anchor: ModelOrPlace | None, target: str | None) -> ModelOrPlace | None:
    """The anchor of a run: the one that is given, or the model below the target's adapter; None: fresh weights.

    Towards that model is the same as scaling the adapter by 1 - reset.

    Raises:
        InputError: One is given that the objective has no use for.
    """
    term = reset_term(objective)
    if anchor is not None and (term is None or term.reset == 0):
        raise InputError(f"anchor: {objective.name} moves no weights towards an anchor; leave it out.")
    if anchor is None and term is not None and target is not None:
        return base_below(target)
    return anchor


def fresh_weights(model: PreTrainedModel, seed: int) -> dict[str, Tensor]:
    """New weights of the model's own initialiser, by name: the same on every device and process.

    They are a second model in the host's memory, before there are gradients and optimiser states.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + ANCHOR_SEED)
        return {name: weight.detach() for name, weight in type(model)(model.config).named_parameters()}


def anchor_weights(model: PreTrainedModel, anchor: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of an anchor model, by name.

    Raises:
        InputError: It lacks a matrix of the target, or has it in another shape.
    """
    found = {name: weight.detach() for name, weight in anchor.named_parameters()}
    for name, parameter in model.named_parameters():
        if name not in found or found[name].shape != parameter.shape:
            has = f"in the shape {tuple(found[name].shape)}" if name in found else "not at all"
            raise InputError(f"anchor: the target has the weight {name} {tuple(parameter.shape)}, the anchor {has}.")
    return found


def rows_of(trainer: "UnlearningTrainer", name: Literal["forget", "retain"]) -> list[Encoded]:
    """Rows of a set as token ids."""
    size = trainer.pairing.forget if name == "forget" else trainer.pairing.retain
    return [trainer.encoded.encode(name, (i,)) for i in range(size)]


def only_forgotten(forget: Sequence[Encoded], retain: Sequence[Encoded]) -> list[int]:
    """Tokens that occur in rows of the forget set and in none of the retain set."""
    return sorted({token for row in forget for token in row.ids} - {token for row in retain for token in row.ids})


def chosen_matrices(model: PreTrainedModel, term: RESET) -> Iterator[str]:
    """Names of the matrices that are reset whole. Vectors (norms, biases) stay: they hold no facts."""
    first, last = term.layers or (0, float("inf"))
    for name, parameter in model.named_parameters():
        words = name.split(".")
        layer = next((int(word) for word in words if word.isdigit()), None)
        kind = "attention" if any("attn" in word or "attention" in word for word in words) else "mlp"
        if parameter.dim() < 2 or not parameter.requires_grad:
            continue
        if layer is None:  # an embedding, or the output head
            if term.modules == "all" and term.layers is None:
                yield name
        elif first <= layer <= last and term.modules in ("all", kind):
            yield name


@torch.no_grad()
def move(
    model: PreTrainedModel,
    anchor: Mapping[str, Tensor],
    term: RESET,
    tokens: Sequence[int],
    moments: tuple[Mapping[str, Tensor], Mapping[str, Tensor]] | None = None,
) -> None:
    """Chosen matrices go towards the anchor: as `towards` says, or W <- (1 - reset) W + reset W_anchor (1910.08475).

    Args:
        model: Changed in place.
        anchor: Weights by name.
        term: How far, and which.
        tokens: Whose embeddings are moved where embeddings are not moved whole.
        moments: Of the inputs of retain and of forget rows (see `input_moments`); None: all directions alike. A matrix
            that has none is moved so too.
    """
    assert term.reset is not None  # checked before
    whole = set(chosen_matrices(model, term))
    embeddings = {id(model.get_input_embeddings().weight), id(output_head(model).weight)}
    for name, parameter in model.named_parameters():
        if name in whole and moments and name in moments[0]:
            retain, forget = (each[name] for each in moments)
            old, new = parameter.to(retain.device), anchor[name].to(retain.device, parameter.dtype)
            if retain.dim() == 1:  # an embedding, whose inputs are its rows
                parameter.copy_(towards(old.T, new.T, term.reset, retain, forget).T)
            else:
                parameter.copy_(towards(old, new, term.reset, retain, forget))
        elif name in whole:
            parameter.lerp_(anchor[name].to(parameter), term.reset)
        elif term.embeddings and id(parameter) in embeddings:
            rows = torch.tensor(tokens, dtype=torch.long, device=parameter.device)
            parameter[rows] = parameter[rows].lerp(anchor[name].to(parameter)[rows], term.reset)


def learned_from(tokens: int, parameters: int) -> bool:
    """Whether a model of this size may have learned all it knows from so many retain tokens."""
    return parameters <= MOST_PARAMETERS_PER_TOKEN * tokens


def _check_fresh(trainer: "UnlearningTrainer") -> None:
    """Refuse fresh weights where the retain set cannot have taught the model what it knows; with the price it has.

    Raises:
        InputError: Saying so.
    """
    rows = (trainer.encoded.encode("retain", (i,)) for i in range(trainer.pairing.retain))
    tokens, parameters = sum(len(row.ids) for row in rows), causal_model(trainer.model).num_parameters()
    if learned_from(tokens, parameters):
        return
    needed = PRETRAINING_TOKENS * parameters
    raise InputError(
        f"{trainer.objective.name} towards fresh weights takes what the model knows beyond the retain set as well, and "
        f"{parameters:,} parameters with {tokens:,} retain tokens were not learned from those alone. Learning it again "
        f"would take about {needed:.1e} tokens ({PRETRAINING_TOKENS} a parameter), {needed / tokens:,.0f} passes over "
        "this retain set. Give the model it was fine-tuned from with --anchor, or suppress with NPO+GD. "
        "To go on all the same: --anchor fresh."
    )
