"""CHIP: which neurons and directions are found, what the projection takes, and what it leaves."""

import json

import pytest
import torch
from peft import LoraConfig

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.data import encode, load_rows
from expunge.errors import InputError
from expunge.models import load_model
from expunge.training.steps.chip import PROJECTIONS, activations, marking, project_out, span
from killed import copy_killed
from objectives import runs


def trainer(tokenizer, folder, objective="GA+GD", retain=tiny.RETAIN, peft_config=None, forget=tiny.FORGET, **options):
    args = UnlearningConfig(
        str(folder), objective=objective, disable_tqdm=True, use_cpu=True, **{"chip": 0.25, "max_steps": 0, **options}
    )
    return UnlearningTrainer(runs.target(tokenizer), args, forget, retain, tokenizer, peft_config)


def outputs(model, tokenizer, row):
    """What each projection puts out on a row: [tokens, out] by name."""
    found = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: found.update({name: out[0].detach()}))
        for name, module in model.named_modules()
        if name.endswith(PROJECTIONS)
    ]
    with torch.no_grad():
        model(input_ids=torch.tensor([encode(tokenizer, row).ids]))
    for hook in hooks:
        hook.remove()
    return found


def test_no_input_has_an_output_along_the_span():
    torch.manual_seed(0)
    module = torch.nn.Linear(12, 20).double()
    before = module.weight.detach().clone()
    neurons = torch.tensor([1, 4, 5, 9, 17])
    basis = torch.linalg.qr(torch.randn(5, 2, dtype=torch.double))[0].T
    project_out(module, neurons, basis)
    put_out = module(torch.randn(100, 12, dtype=torch.double)).detach()[:, neurons]
    assert (put_out @ basis.T).abs().max() < 1e-12
    others = [i for i in range(20) if i not in neurons]
    assert torch.equal(module.weight[others], before[others])
    across = torch.linalg.qr(torch.cat([basis, torch.randn(3, 5, dtype=torch.double)]).T)[0].T[2:]
    torch.testing.assert_close(across @ module.weight[neurons], across @ before[neurons], rtol=0, atol=1e-12)
    once = module.weight.detach().clone()
    project_out(module, neurons, basis)
    torch.testing.assert_close(module.weight.detach(), once, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("energy", "kept"), [(0.5, 1), (0.9, 1), (0.905, 2), (0.99, 2), (0.999, 3)])
def test_the_span_is_the_smallest_that_holds_the_energy(energy, kept):
    torch.manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(n, 3, dtype=torch.double))[0] for n in (8, 6))
    directions = left @ torch.diag(torch.tensor([9.5, 3.0, 0.85]).double()) @ right.T  # 90.3 %, 9.0 %, 0.7 %
    basis = span(directions, energy)
    torch.testing.assert_close(basis.T @ basis, (right[:, :kept] @ right[:, :kept].T), rtol=0, atol=1e-6)


def test_the_neurons_are_those_that_are_larger_on_forget_rows():
    forget = torch.tensor([[3.0, 1, 9, 2, 5, 5, 0, 1, 1, 1], [-3.0, 1, 9, -2, 5, 5, 0, 1, 1, 1]])
    retain = torch.tensor([[0.0, 1, 9, 0, 1, 5, 5, 1, 1, 1]])
    assert marking(forget, retain, 0.3).tolist() == [0, 3, 4]
    assert marking(forget, retain, 0.01).tolist() == [4]


def test_activations_are_means_over_a_rows_tokens_however_rows_are_batched(tokenizer):
    model = runs.target(tokenizer)
    modules = {name: module for name, module in model.named_modules() if name.endswith(PROJECTIONS)}
    found = activations(model, modules, [encode(tokenizer, row) for row in tiny.FORGET])
    alone = [outputs(model, tokenizer, row) for row in tiny.FORGET]
    for name in modules:
        torch.testing.assert_close(found[name], torch.stack([one[name].mean(0) for one in alone]), rtol=1e-4, atol=1e-5)


def test_without_a_step_the_model_is_the_projected_target(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.train()
    changed = {name: (p != before[name]).any(-1) for name, p in run.model.named_parameters()}
    projected = {n for n in before if n.removesuffix(".weight").endswith(PROJECTIONS)}
    assert {name for name, rows in changed.items() if rows.any()} == projected
    for name in projected:
        assert int(changed[name].sum()) == int(0.25 * len(before[name]))
    again = trainer(tokenizer, tmp_path / "again")
    again.train()
    assert torch.equal(runs.weights(run.model), runs.weights(again.model))


def test_layers_are_chosen(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, chip_layers=(1, 1))
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.before_steps()
    moved = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {f"model.layers.1.mlp.{part}.weight" for part in PROJECTIONS}


def test_siblings_are_what_is_compared_with_where_rows_name_them(tokenizer, tmp_path):
    def weights(relations):
        rows = [tiny.qa(r.prompt, r.completion, relation=relations(i)) for i, r in enumerate(tiny.RETAIN)]
        run = trainer(tokenizer, tmp_path / str(len(list(tmp_path.iterdir()))), retain=rows)
        run.before_steps()
        return runs.weights(run.model)

    everything = weights(lambda i: "other")
    assert torch.equal(everything, weights(lambda i: "sibling"))
    assert not torch.allclose(everything, weights(lambda i: "sibling" if i < 2 else "other"))


def test_a_resumed_run_starts_from_the_projected_target_too(tokenizer, tmp_path):
    def run(folder):
        steps = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
        return trainer(tokenizer, folder, max_steps=-1, gradient_accumulation_steps=1, learning_rate=1e-3, **steps)

    whole = run(tmp_path / "whole")
    whole.train()
    copy_killed(tmp_path / "whole", tmp_path / "killed", 2)
    resumed = run(tmp_path / "killed")
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(runs.weights(resumed.model), runs.weights(whole.model))


def test_rows_of_a_node_give_one_direction(tokenizer, tmp_path):
    def taken(*nodes):
        """How many dimensions each projection of the first layer has lost."""
        rows = [tiny.qa(row.prompt, row.completion, node=node) for row, node in zip(tiny.FORGET, nodes, strict=True)]
        run = trainer(tokenizer, tmp_path / "-".join(nodes), forget=rows, chip_energy=1.0)
        before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
        run.before_steps()
        after = dict(run.model.named_parameters())
        names = (f"model.layers.0.mlp.{part}.weight" for part in PROJECTIONS)
        return {int(torch.linalg.matrix_rank(before[name] - after[name].detach(), rtol=1e-4)) for name in names}

    assert taken(*"aaaaa") == {1}
    assert taken(*"aabba") == {2}
    assert taken(*"abcde") == {5}


def test_by_the_command_line_it_forgets_without_a_step(expunge, model_folder, data, tmp_path):
    words = ["--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    words += ["--objective", "GA+GD", "--out", tmp_path / "run", "--quiet", "train.use_cpu=true", "train.chip=0.5"]
    expunge("unlearn", *words, "train.max_steps=0")
    target, now = load_model(model_folder)[0].state_dict(), load_model(tmp_path / "run")[0].state_dict()
    assert {n for n in target if not torch.equal(target[n], now[n])} == {
        f"model.layers.{layer}.mlp.{part}.weight" for layer in (0, 1) for part in PROJECTIONS
    }
    losses = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert losses["fingerprints"]
    assert len(load_rows(data / "forget.jsonl")) == len(tiny.FORGET)


def test_what_it_cannot_do_it_says_before_it_starts(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"train\.chip.*lora"):
        trainer(tokenizer, tmp_path, peft_config=LoraConfig(r=2, task_type="CAUSAL_LM"))
    with pytest.raises(InputError, match=r"train\.chip compares with retain rows"):
        trainer(tokenizer, tmp_path, objective="GA", retain=None)
    with pytest.raises(InputError, match=r"no gate_proj.*chip_layers"):
        trainer(tokenizer, tmp_path, chip_layers=(7, 9))
    with pytest.raises(InputError, match=r"chip_energy.*train\.chip"):
        UnlearningConfig(str(tmp_path), chip_energy=0.5)
    with pytest.raises(InputError, match=r"max_steps=0.*train\.chip"):
        UnlearningConfig(str(tmp_path), max_steps=0)
    with pytest.raises(InputError, match=r"max_steps"):
        UnlearningConfig(str(tmp_path), max_steps=-2)
