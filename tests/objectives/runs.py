"""Short runs of every objective on a tiny model: what the inherited suite trains."""

import sys
from functools import cache
from pathlib import Path

import torch

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.data import encode
from expunge.objectives import TERMS, build_objective

# Regularisation terms, each with a forget term; every forget term is run with GD, but one that wants no retain data.
PARTNERS = {"GD": "GA", "KL": "NPO", "AP": "IDK", "EMBED": "RMU"}
ALONE = {"FLAT"}
OPTIONS = {
    "PDU": {"eps": 1.0, "eta": 0.5},
    "RESET": {"level": 9.0, "every": 1, "hinge": 1.0, "reset": 0.2},
    "RMU": {"RMU.layer": 1},
    "EMBED": {"layer": 1, "RMU.train": [0, 1]},
}
# A student starts as its teacher: there is nothing to distil until noise is added.
TRAIN = {"DISTILL": {"noise": 0.5}}
# They change the weights below an adapter.
WITHOUT_ADAPTER = {"DISTILL": "noise", "RESET": "reset=0"}

# What else must not depend on the number of processes: wrappers and weight-level methods, on NPO+GD.
SETTINGS = {
    "gru": {"gradient": "gru"},
    "sharpness": {"gradient": "sharpness"},
    "separate states": {"separate_states": True},
    "saliency": {"salient_share": 0.5},
    "negation": {"negate": 0.5},
    "chip": {"chip": 0.5},
}
RUNS = (*TERMS, *SETTINGS)


def spec(name):
    """The objective that stands for a term, or a setting."""
    if name in SETTINGS:
        return "NPO+GD"
    if name in ALONE:
        return name
    return f"{PARTNERS[name]}+{name}" if name in PARTNERS else f"{name}+GD"


def arguments(folder, batch=8, accumulation=1, **options):
    """Settings for three optimiser steps, each over all five forget rows."""
    return UnlearningConfig(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        disable_tqdm=True,
        use_cpu=True,
        **{
            "num_train_epochs": 3,
            "learning_rate": 2e-3,
            "warmup_steps": 0,
            # With its usual 1e-8, AdamW turns rounding in a gradient that should be zero into a whole step.
            "adam_epsilon": 1e-5,
            "save_strategy": "no",
            "stop_at_chance": False,
            **options,
        },
    )


def trainer(name, folder, batch=8, accumulation=1, peft_config=None, tokenizer=None, **options):
    """A trainer for a term's objective."""
    args = arguments(folder, batch, accumulation, **{**TRAIN, **SETTINGS}.get(name, {}), **options)
    tokenizer = tokenizer or tiny.tiny_tokenizer(tiny.TEXTS)
    objective = build_objective(spec(name), OPTIONS.get(name))
    return UnlearningTrainer(
        target(tokenizer),
        args,
        tiny.FORGET,
        tiny.RETAIN,
        tokenizer,
        peft_config,
        tiny.REFUSALS,
        objective=objective,
    )


def target(tokenizer):
    """The model every run starts from: it knows the forget and the retain set."""
    model = tiny.tiny_llama(tokenizer)
    model.load_state_dict(_learned(len(tokenizer)))
    return model


@cache
def _learned(_vocabulary):
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
    rows = [encode(tokenizer, row) for row in tiny.FORGET + tiny.RETAIN]
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + (0,) * (width - len(row.ids)) for row in rows])
    labels = torch.tensor([(-100,) * r.start + r.ids[r.start :] + (-100,) * (width - len(r.ids)) for r in rows])
    model = tiny.tiny_llama(tokenizer, scale=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    return model.state_dict()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def main(out, backend):
    """Run the whole table in this process group, saving each model."""
    options = {}
    if backend == "fsdp2":
        options = {
            "fsdp": "full_shard",
            "fsdp_config": {
                "version": 2,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
                "state_dict_type": "FULL_STATE_DICT",
            },
        }
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS)
    for name in RUNS:
        run = trainer(name, out / name, 2, 2, tokenizer=tokenizer, **options)
        run.train()
        run.save_model(str(out / name / "model"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    torch.distributed.destroy_process_group()
