"""What every objective must do, whoever wrote it: run, forget, train adapters, save, resume, in any micro-batches."""

import json
from dataclasses import dataclass

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM

import tinymodels as tiny
from expunge import UnlearningTrainer
from expunge.data import encode
from expunge.errors import InputError
from expunge.objectives import TERMS, Needs, Term, build_objective
from killed import copy_killed
from thinned import thinned

from . import runs

# As these succeed, the weight of what is forgotten falls, and with it the size of their value: look at the answers.
ANSWERS_BECOME_UNLIKELY = {"WGA", "SatImp"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tokenizer):
    """Each objective's run in batches of eight, trained once and shared: name -> (trainer, folder, log)."""
    done = {}

    def run(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            trainer = runs.trainer(name, folder, tokenizer=tokenizer, save_strategy="epoch", save_total_limit=None)
            trainer.train()
            log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
            done[name] = trainer, folder, log
        return done[name]

    return run


@torch.no_grad()
def forget_nll(model, tokenizer):
    """Mean negative log-likelihood of the forget set's completion tokens, in nats."""
    values = []
    for row in (encode(tokenizer, row) for row in tiny.FORGET):
        logp = model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
        values += [-logp[at - 1, row.ids[at]] for at in range(row.start, len(row.ids))]
    return float(torch.stack(values).mean())


@pytest.mark.parametrize("name", TERMS)
def test_its_loss_falls(name, finished, tokenizer):
    trainer, _, log = finished(name)
    assert len(log) == 3
    if name in ANSWERS_BECOME_UNLIKELY:
        assert forget_nll(trainer.model, tokenizer) > forget_nll(runs.target(tokenizer), tokenizer)
        return
    # A regularisation term starts at its least where it compares with the target: look at its forget term.
    watched = runs.PARTNERS.get(name, name)
    assert log[-1]["terms"][watched] < log[0]["terms"][watched]


@pytest.mark.parametrize("name", TERMS)
def test_micro_batches_change_nothing(name, finished, tokenizer, tmp_path):
    whole, _, _ = finished(name)
    cut = runs.trainer(name, tmp_path, 2, 4, tokenizer=tokenizer)
    cut.train()
    torch.testing.assert_close(runs.weights(cut.model), runs.weights(whole.model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_resumed_run_ends_in_the_same_weights(name, finished, tokenizer, tmp_path):
    whole, folder, _ = finished(name)
    copy_killed(folder, tmp_path, 2)
    resumed = runs.trainer(name, tmp_path, tokenizer=tokenizer)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 3
    assert torch.equal(runs.weights(resumed.model), runs.weights(whole.model))


@pytest.mark.parametrize("name", thinned(TERMS, "NPO", "IDK", "RMU"))
def test_saved_model_is_a_plain_one(name, finished, tmp_path):
    trainer, _, _ = finished(name)
    trainer.save_model(str(tmp_path))
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=ids).logits, trainer.model.eval()(input_ids=ids).logits)


@pytest.mark.parametrize("name", thinned(TERMS, "NPO", "IDK", "RMU", "ME"))
def test_adapter_moves_and_nothing_else_does(name, tokenizer, tmp_path):
    lora = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    if name in runs.WITHOUT_ADAPTER:
        with pytest.raises(InputError, match=runs.WITHOUT_ADAPTER[name]):
            runs.trainer(name, tmp_path, peft_config=lora, tokenizer=tokenizer)
        return
    run = runs.trainer(name, tmp_path, peft_config=lora, tokenizer=tokenizer)
    run.train()
    before = runs.target(tokenizer).state_dict()
    moved = []
    for key, value in run.model.get_base_model().state_dict().items():
        if "lora_B" in key:
            moved.append(bool(value.abs().sum() > 0))
        elif "lora_A" not in key:
            assert torch.equal(value, before[key.replace("base_layer.", "")]), key
    assert all(moved) or (any(moved) and run.objective.terms[0].term.trained_layers)


def test_pdu_raises_and_lowers_the_weight_of_its_constraint(tokenizer, tmp_path):
    trainer = runs.trainer("PDU", tmp_path, tokenizer=tokenizer, save_strategy="epoch", save_total_limit=None)
    trainer.train()
    log = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    weight, seen = 1.0, []
    for entry in log:
        expected = entry["terms"]["PDU"] + weight * (entry["terms"]["GD"] - 1.0)
        assert entry["loss"] == pytest.approx(expected, rel=1e-5)
        weight = max(0.0, weight + 0.5 * (entry["terms"]["GD"] - 1.0))
        seen.append(weight)
    assert trainer.term_weights.now["GD"] == pytest.approx(weight)
    assert len(set(seen)) == 3
    kept = json.loads((tmp_path / "checkpoint-2" / "objective_weights.json").read_text())
    assert kept["GD"] == pytest.approx(seen[1])


def test_rmu_trains_three_layers_and_stops_below_the_others(tokenizer, tmp_path):
    model = tiny.tiny_llama(tokenizer, layers=5, scale=3.0)
    args = runs.arguments(tmp_path, num_train_epochs=1)
    objective = build_objective("RMU+EMBED", {"layer": 3})
    run = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective)
    assert {n.split(".")[2] for n, p in model.named_parameters() if p.requires_grad} == {"1", "2", "3"}
    called = []
    for name, module in (("norm", model.model.norm), ("4", model.model.layers[4]), ("3", model.model.layers[3])):
        module.register_forward_hook(lambda *_, name=name: called.append(name) if model.training else None)
    run.train()
    assert set(called) == {"3"}


def test_rmu_trains_one_matrix_of_each_layer_as_its_released_code_does(tokenizer, tmp_path):
    model = tiny.tiny_llama(tokenizer, layers=5, scale=3.0)
    objective = build_objective("RMU+EMBED", {"layer": 3, "RMU.modules": ["down_proj"]})
    args = runs.arguments(tmp_path, num_train_epochs=1)
    run = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    run.train()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {f"model.layers.{i}.mlp.down_proj.weight" for i in (1, 2, 3)}
    other = build_objective("RMU+EMBED", {"layer": 1, "RMU.modules": ["c_proj"]})
    with pytest.raises(InputError, match=r"Unknown module of layer 0 'c_proj'.*down_proj"):
        UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=other)


def test_pdu_keeps_its_weight_for_the_warmup_epochs(tokenizer, tmp_path):
    objective = build_objective("PDU+GD", {"eps": 0.3, "eta": 5.0, "retain_weight": 100.0, "warmup_epochs": 2})
    args = runs.arguments(tmp_path, batch=2, num_train_epochs=4)
    run = UnlearningTrainer(runs.target(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective)
    run.train()
    log = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    weight = 100.0
    for step, entry in enumerate(log):  # three steps an epoch
        assert entry["weights"]["GD"] == pytest.approx(weight)
        if step >= 6:
            weight = max(0.0, weight + 5.0 * (entry["terms"]["GD"] - 0.3))
    assert weight != 100.0


def test_rmu_names_the_layers_there_are(tokenizer, tmp_path):
    objective = build_objective("RMU+EMBED", {"layer": 7})
    with pytest.raises(InputError, match="layers 0 to 1"):
        UnlearningTrainer(
            runs.target(tokenizer),
            runs.arguments(tmp_path),
            tiny.FORGET,
            tiny.RETAIN,
            tokenizer,
            objective=objective,
        )


def test_pdu_asks_for_its_bound():
    with pytest.raises(InputError, match=r"PDU needs objective\.eps"):
        build_objective("PDU+GD")
    assert [part.name for part in build_objective("PDU", {"eps": 1.0}).terms] == ["PDU", "GD"]


@dataclass(frozen=True)
class Confuse(Term):
    """A custom term that answers with other rows' completions and has no hyper-parameter to say how many."""

    needs = Needs(views=("forget_mismatch",))

    def loss(self, views):
        return views.forget_mismatch.token_mean(-views.forget_mismatch.logp)


def test_a_custom_term_gets_five_mismatches_of_each_row_unless_it_says_otherwise(tokenizer, tmp_path):
    args = runs.arguments(tmp_path, num_train_epochs=1)
    run = UnlearningTrainer(runs.target(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=Confuse())
    (batch,) = (sample["batch"] for sample in run.get_train_dataloader())
    assert len(batch["forget_mismatch"].rows) == 5 * len(tiny.FORGET)
    before = runs.weights(run.model).clone()
    run.train()
    assert not torch.equal(runs.weights(run.model), before)


def test_alternatives_depend_on_the_seed_alone(tokenizer):
    from expunge.training.batching.alternates import sample_alternates

    model = runs.target(tokenizer)
    first, again, other = (sample_alternates(model, tokenizer, tiny.FORGET, seed, quiet=True) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert all(first[i] and first[i] != row.completion for i, row in enumerate(tiny.FORGET))
