"""Gradient-level wrappers and weight-level methods, each against its formula on a whole batch."""

import json

import pytest
import torch
from peft import LoraConfig

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.errors import InputError
from expunge.objectives import build_objective
from expunge.training.batching import VIEWS
from expunge.training.loss import compute, count
from killed import copy_killed
from thinned import thinned

# Plain SGD, so that the update is the gradient itself.
SGD = {"optim": "sgd", "learning_rate": 0.5, "weight_decay": 0.0, "lr_scheduler_type": "constant", "max_grad_norm": 0}
WRAPPERS = {
    "gru": {"gradient": "gru"},
    "sharpness": {"gradient": "sharpness", "sharpness_radius": 0.05},
    "separate states": {"separate_states": True},
    "saliency": {"salient_share": 0.25},
    "gru, separate states": {"gradient": "gru", "separate_states": True},
}
OFTEN = ("sharpness", "saliency", "gru, separate states")


def trainer(tokenizer, folder, objective="NPO+GD", batch=8, accumulation=1, peft_config=None, weights=None, **options):
    args = UnlearningConfig(
        output_dir=str(folder),
        objective=objective,
        objective_options=weights or {},
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        disable_tqdm=True,
        use_cpu=True,
        **{
            "num_train_epochs": 2,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "adam_epsilon": 1e-5,
            "save_strategy": "no",
            "stop_at_chance": False,
            **options,
        },
    )
    model = tiny.tiny_llama(tokenizer, scale=3.0)
    return UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, peft_config, tiny.REFUSALS)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gradient(run, side, model=None):
    """Gradient of one side over the first epoch's batch, [weights]."""
    model = model or run.model
    objective = run.objective.only(side)
    order = run.pairing.order(0)
    cut = run.encoded.batch({v: [k for i in order for k in VIEWS[v].keys(run.pairing, 0, i)] for v in objective.views})
    model.zero_grad()
    compute(model, objective, cut, count(objective, [cut]), run.reference)[0].backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return found


def one_step(tokenizer, folder, objective, weights=None, **options):
    """(weights before, weights after one step of plain SGD, the trainer put back to where it was)."""
    run = trainer(tokenizer, folder, objective, weights=weights, num_train_epochs=1, **SGD, **options)
    before = flat(run.model).clone()
    run.train()
    after = flat(run.model).clone()
    torch.nn.utils.vector_to_parameters(before, run.model.parameters())
    return before, after, run


@pytest.mark.parametrize("retain_weight", [0.0, 0.05])
def test_gru_takes_out_what_would_raise_the_retain_loss(retain_weight, tokenizer, tmp_path):
    weights = {"retain_weight": retain_weight}
    before, after, run = one_step(tokenizer, tmp_path, "GA+GD", weights, gradient="gru")
    forget = gradient(run, "forget")
    run.objective = build_objective("GA+GD")
    direction = gradient(run, "retain")
    whole = forget + retain_weight * direction
    assert whole @ direction < 0  # else there would be nothing to project
    expected = whole - (whole @ direction) / (direction @ direction) * direction
    torch.testing.assert_close((before - after) / 0.5, expected, rtol=1e-3, atol=1e-5)
    assert abs(expected @ direction) < 1e-4 * abs(whole @ direction) + 1e-5


def test_gru_leaves_a_step_alone_that_does_not_raise_the_retain_loss(tokenizer, tmp_path):
    """As where the forget set is learned, not forgotten."""
    before, after, run = one_step(tokenizer, tmp_path, "GA+GD", {"forget_weight": -1}, gradient="gru")
    forget, direction = gradient(run, "forget"), gradient(run, "retain")
    kept = forget @ direction / (direction @ direction) * direction
    assert forget @ direction > 0
    step = (before - after) / 0.5
    assert (step - forget - direction).norm() < 0.01 * kept.norm()


def test_sharpness_takes_the_forget_gradient_uphill(tokenizer, tmp_path):
    before, after, run = one_step(tokenizer, tmp_path, "GA+GD", gradient="sharpness", sharpness_radius=0.05)
    forget, retain = gradient(run, "forget"), gradient(run, "retain")
    torch.nn.utils.vector_to_parameters(before + 0.05 * forget / forget.norm(), run.model.parameters())
    uphill = gradient(run, "forget")
    error = (before - after) / 0.5 - uphill - retain
    assert error.norm() < 0.05 * (uphill - forget).norm()


def test_separate_states_take_the_sum_of_two_adam_steps(tokenizer, tmp_path):
    options = {"separate_states": True, "num_train_epochs": 1, "max_grad_norm": 0, "weight_decay": 0.0}
    run = trainer(tokenizer, tmp_path, "GA+GD", lr_scheduler_type="constant", **options)
    before = flat(run.model).clone()
    run.train()
    after = flat(run.model).clone()
    torch.nn.utils.vector_to_parameters(before, run.model.parameters())
    # The first step of Adam is g / (|g| + eps).
    steps = [g / (g.abs() + 1e-5) for g in (gradient(run, "forget"), gradient(run, "retain"))]
    torch.testing.assert_close((before - after) / 1e-3, sum(steps), rtol=1e-2, atol=1e-2)


def test_clipping_reaches_both_states(tokenizer, tmp_path):
    options = {"separate_states": True, "num_train_epochs": 1, "weight_decay": 0.0, "lr_scheduler_type": "constant"}
    run = trainer(tokenizer, tmp_path, "GA+GD", max_grad_norm=1e-4, **options)
    before = flat(run.model).clone()
    run.train()
    after = flat(run.model).clone()
    torch.nn.utils.vector_to_parameters(before, run.model.parameters())
    forget, retain = gradient(run, "forget"), gradient(run, "retain")
    factor = 1e-4 / (forget + retain).norm()
    steps = [g * factor / ((g * factor).abs() + 1e-5) for g in (forget, retain)]
    torch.testing.assert_close((before - after) / 1e-3, sum(steps), rtol=2e-2, atol=1e-3)


def test_salient_tensors_alone_are_trained(tokenizer, tmp_path):
    run = trainer(tokenizer, tmp_path, "NPO+GD", salient_share=0.25)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.train()
    moved = {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert len(moved) == round(0.25 * len(before))
    fresh = trainer(tokenizer, tmp_path / "fresh", "GA")
    norms = dict(zip(before, split(gradient(fresh, "forget"), fresh.model), strict=True))
    # At the target NPO's gradient is GA's direction, row by row: the largest tensors are largely the same.
    assert len(moved & set(sorted(norms, key=norms.get)[-len(moved) :])) >= len(moved) // 2


def split(vector, model):
    return [float(part.norm()) for part in vector.split([p.numel() for p in model.parameters()])]


@pytest.mark.parametrize("name", thinned(WRAPPERS, *OFTEN))
def test_wrapped_steps_do_not_depend_on_micro_batches(name, tokenizer, tmp_path):
    runs = []
    for folder, batch, accumulation in (("whole", 8, 1), ("cut", 2, 4)):
        run = trainer(tokenizer, tmp_path / folder, "NPO+KL", batch, accumulation, **WRAPPERS[name])
        run.train()
        runs.append(run)
    torch.testing.assert_close(flat(runs[1].model), flat(runs[0].model), rtol=0, atol=1e-5)
    logs = [[json.loads(x) for x in (tmp_path / f / "train_log.jsonl").open()] for f in ("whole", "cut")]
    for a, b in zip(*logs, strict=True):
        assert a["terms"] == pytest.approx(b["terms"], rel=1e-4, abs=1e-6)
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["loss"] == pytest.approx(sum(a["terms"].values()), rel=1e-4)
        assert a["tokens"] == b["tokens"]


@pytest.mark.parametrize("name", thinned(WRAPPERS, *OFTEN))
def test_wrapped_run_resumes_bit_for_bit(name, tokenizer, tmp_path):
    whole = trainer(tokenizer, tmp_path / "a", save_strategy="epoch", save_total_limit=None, **WRAPPERS[name])
    whole.train()
    copy_killed(tmp_path / "a", tmp_path / "b", 1)
    resumed = trainer(tokenizer, tmp_path / "b", **WRAPPERS[name])
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(flat(resumed.model), flat(whole.model))


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapped_adapter_moves(name, tokenizer, tmp_path):
    lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    run = trainer(tokenizer, tmp_path, "ME+GD", peft_config=lora, **WRAPPERS[name])
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.train()
    moved = {k for k, v in run.model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all("lora" in key for key in moved)


def test_wrappers_need_a_regularisation_term(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"needs a regularisation term.*\+GD"):
        trainer(tokenizer, tmp_path, "GA", gradient="gru")


@pytest.mark.parametrize("options", [{"gradient": "gru"}, {"gradient": "sharpness"}, {"separate_states": True}])
def test_wrappers_do_not_mix_gradients_that_are_scaled_for_fp16(options, tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"cannot be combined with train\.fp16.*train\.bf16=true"):
        trainer(tokenizer, tmp_path, fp16=True, **options)


def test_negation_goes_the_other_way(tokenizer, tmp_path):
    learn = {"forget_weight": -1}
    there = trainer(tokenizer, tmp_path / "a", "GA", weights=learn)
    before = flat(there.model).clone()
    there.train()
    back = trainer(tokenizer, tmp_path / "b", "GA", weights=learn, negate=0.5)
    back.train()
    torch.testing.assert_close(flat(back.model) - before, -0.5 * (flat(there.model) - before), rtol=1e-3, atol=1e-6)


def test_negated_adapter_is_the_opposite_product(tokenizer, tmp_path):
    products = []
    for folder, options in (("a", {}), ("b", {"negate": 2.0})):
        lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        run = trainer(tokenizer, tmp_path / folder, "GA", weights={"forget_weight": -1}, peft_config=lora, **options)
        run.train()
        layer = run.model.get_base_model().model.layers[0].mlp.up_proj
        products.append(layer.lora_B["default"].weight @ layer.lora_A["default"].weight)
    assert products[0].abs().max() > 0
    assert (products[1] + 2 * products[0]).norm() < 1e-5 * products[0].norm()


def test_noise_replaces_a_share_of_the_matrices(tokenizer):
    from expunge.training.steps.noise import add_noise

    model, same = tiny.tiny_llama(tokenizer), tiny.tiny_llama(tokenizer)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    add_noise(model, 0.25, 0.1, seed=3)
    add_noise(same, 0.25, 0.1, seed=3)
    for (name, now), again in zip(model.named_parameters(), same.parameters(), strict=True):
        assert torch.equal(now, again)
        if now.dim() < 2:
            assert torch.equal(now, before[name])
            continue
        noise = (now.detach() - 0.75 * before[name]) / (0.25 * 0.1)
        assert float(noise.std()) == pytest.approx((2 / sum(now.shape)) ** 0.5, rel=0.1)
        assert abs(float(noise.mean())) < float(noise.std()) / 4


def test_the_noise_is_that_of_the_runs_seed(tokenizer, tmp_path):
    changes = []
    for i, seed in enumerate((1, 1, 2)):
        run = trainer(tokenizer, tmp_path / str(i), noise=0.5, num_train_epochs=1, learning_rate=1e-12, seed=seed)
        run.train()
        changes.append(flat(run.model))
    assert (changes[0] - changes[1]).abs().max() < 1e-6
    assert (changes[0] - changes[2]).abs().max() > 1e-3
