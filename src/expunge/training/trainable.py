"""Which weights are trained: all, an adapter's, or those of the layers that a term asks for."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel

from expunge.errors import InputError, unknown
from expunge.models import causal_model, decoder_layer, without_bitsandbytes
from expunge.models.pictures import sees, vision_modules, vision_parameters
from expunge.objectives import Objective, Term


def check_trainable(model: nn.Module) -> None:
    """Refuse a model of which nothing would be trained.

    Raises:
        InputError: All its weights are frozen.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("All weights of the model are frozen: unfreeze some, or train an adapter (lora.r=8).")


def freeze_layers(model: PreTrainedModel | PeftModel, objective: Objective) -> None:
    """Freeze all but the decoder layers, or the modules of them, that a term asks for, if one does.

    DDP demands it of an objective whose forward stops early: a weight that gets no gradient must not be trained.

    Raises:
        InputError: The model has no such layer or module.
    """
    chosen = [part.term for part in objective.terms if part.term.trained_layers is not None]
    if not chosen:
        return
    causal = causal_model(model)
    trained = {id(p) for term in chosen for m in _modules(causal, term) for p in m.parameters() if p.requires_grad}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def _modules(causal: PreTrainedModel, term: Term) -> Iterator[nn.Module]:
    """The modules that a term has trained."""
    for number in term.trained_layers or ():
        layer = decoder_layer(causal, number)
        if term.trained_modules is None:
            yield layer
            continue
        named = {name.rpartition(".")[2]: module for name, module in layer.named_modules()}
        for name in term.trained_modules:
            if name not in named:
                raise unknown(f"module of layer {number}", name, (n for n, m in named.items() if m._parameters))
            yield named[name]


def freeze_vision(model: PreTrainedModel, adapter: PeftConfig | None) -> PeftConfig | None:
    """Keep what sees pictures as it is: of a vision-language model only the language model is trained.

    Args:
        model: Of any kind; a language model is left as it is.
        adapter: The configuration of a new adapter, if there is one.

    Returns:
        That configuration, with those parts left out.
    """
    if not sees(model.config):
        return adapter
    for parameter in vision_parameters(model):
        parameter.requires_grad_(False)
    if isinstance(adapter, LoraConfig) and adapter.exclude_modules is None:
        return replace(adapter, exclude_modules=rf"({'|'.join(map(re.escape, vision_modules(model)))}).*")
    return adapter


def with_adapter(model: PreTrainedModel, config: PeftConfig, place: str | None) -> PeftModel:
    """The model with a new adapter, which belongs to `place`, or to what its configuration names.

    Raises:
        InputError: The adapter does not fit the model.
    """
    # An adapter target was merged on loading: the new adapter belongs to its folder, not to the base below it, which is
    # what PEFT would write down.
    home = place or config.base_model_name_or_path
    config.base_model_name_or_path = None
    try:
        with without_bitsandbytes():
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"The adapter cannot be made, see lora.target_modules: {error}") from error
    if home:
        home = str(Path(home).resolve()) if Path(home).exists() else home
        adapted.peft_config["default"].base_model_name_or_path = home
    return adapted
