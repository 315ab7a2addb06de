"""RESET: which weights move, which rows are met when, where its level is from, and where it cannot serve."""

import json
from itertools import chain

import pytest
import torch
from peft import LoraConfig
from typer.testing import CliRunner

import tinymodels as tiny
from expunge import UnlearningTrainer
from expunge.cli.main import app
from expunge.data import Encoded, encode_all
from expunge.errors import InputError
from expunge.models import fingerprint, load_model
from expunge.objectives import RESET, Views, build_objective, single_batch
from expunge.objectives.reset import towards, unseen_levels
from expunge.training import read_recipe, unlearn
from expunge.training.batching.pairing import RetainLed
from expunge.training.bigrams import Bigrams
from killed import copy_killed
from objectives import runs

OPTIONS = {"level": 7.0, "reset": 0.7}


@pytest.fixture
def started(tokenizer, tmp_path, monkeypatch):
    """A trainer whose weights moved and that took no step, with the weights of before."""

    def start(anchor=None, **options):
        model = runs.target(tokenizer)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        objective = build_objective("RESET", {**OPTIONS, **options})
        args = runs.arguments(tmp_path)
        run = UnlearningTrainer(
            model, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective, anchor=anchor or "fresh"
        )
        run.before_steps()
        return run, before

    return start


def moved(run, before):
    return {name for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}


def test_every_matrix_goes_so_far_towards_fresh_weights_and_no_vector(started):
    run, before = started(reset=0.25)
    again, _ = started(reset=0.25)
    for name, now in run.model.named_parameters():
        assert torch.equal(now, dict(again.model.named_parameters())[name]), "the same seed, the same anchor"
        if now.dim() < 2:
            assert torch.equal(now, before[name])
            continue
        anchor = (now.detach() - 0.75 * before[name]) / 0.25
        # the initialiser's scale (0.02 for 6 times the usual), not the target's
        assert float(anchor.std()) == pytest.approx(0.12, rel=0.1)
        assert abs(float(torch.corrcoef(torch.stack([anchor.flatten(), before[name].flatten()]))[0, 1])) < 0.1


def test_the_anchor_is_not_where_the_target_began(tokenizer, tmp_path):
    args = runs.arguments(tmp_path, seed=5)
    target = tiny.tiny_llama(tokenizer, seed=5)
    before = runs.weights(target).clone()
    objective = build_objective("RESET", {**OPTIONS, "reset": 1.0})
    run = UnlearningTrainer(target, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective, anchor="fresh")
    run.before_steps()
    assert not torch.allclose(runs.weights(run.model), before, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"modules": "mlp", "embeddings": False}, {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}),
        ({"modules": "attention", "embeddings": False}, {f"self_attn.{letter}_proj" for letter in "qkvo"}),
    ],
)
def test_modules_and_layers_choose_matrices(options, expected, started):
    everywhere, before = started(**options)
    names = {f"model.layers.{layer}.{part}.weight" for layer in (0, 1) for part in expected}
    assert moved(everywhere, before) == names
    above, before = started(**options, layers=[1, 1])
    assert moved(above, before) == {name for name in names if ".1." in name}


def test_embeddings_of_tokens_that_only_forget_rows_have(started):
    run, before = started(modules="mlp")
    encode = run.encoded.encode
    forget, retain = (
        set(chain.from_iterable(encode(name, (i,)).ids for i in range(len(rows))))
        for name, rows in (("forget", tiny.FORGET), ("retain", tiny.RETAIN))
    )
    assert forget - retain
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        now = dict(run.model.named_parameters())[name]
        assert set((now != before[name]).any(-1).nonzero().flatten().tolist()) == forget - retain


def test_towards_an_anchor_model(started, tokenizer):
    anchor = tiny.tiny_llama(tokenizer, seed=9)
    run, before = started(anchor=anchor, reset=0.3)
    for name, now in run.model.named_parameters():
        if now.dim() >= 2:
            expected = 0.7 * before[name] + 0.3 * dict(anchor.named_parameters())[name]
            torch.testing.assert_close(now.detach(), expected.detach(), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match=r"anchor: the target has the weight .* in the shape"):
        started(anchor=tiny.tiny_llama(tokenizer, hidden=16))


def test_weights_move_along_what_forget_rows_put_in(started, tokenizer):
    anchor = tiny.tiny_llama(tokenizer, seed=9)
    run, before = started(anchor=anchor, reset=0.6, along="forget")
    target, new = runs.target(tokenizer), dict(anchor.named_parameters())
    inputs = {name: inputs_of(target, encoded(tokenizer, rows)) for name, rows in sets().items()}
    for name, now in run.model.named_parameters():
        if now.dim() < 2:
            assert torch.equal(now, before[name])
            continue
        retain, forget = (torch.cat(inputs[rows][name]) for rows in ("retain", "forget"))
        moments = [x.T @ x / len(x) for x in (retain, forget)]
        if name == "model.embed_tokens.weight":
            expected = towards(before[name].T, new[name].T, 0.6, *moments).T
        else:
            expected = towards(before[name], new[name], 0.6, *moments)
        torch.testing.assert_close(now.detach().double(), expected.detach(), rtol=0, atol=1e-4)
        # a neutral measure: what forget rows put in meets the anchor more than what retain rows do
        share = [
            ((now - before[name]).detach() @ x.T.float()).norm()
            / ((new[name] - before[name]).detach() @ x.T.float()).norm()
            for x in (retain, forget)
            if name != "model.embed_tokens.weight"
        ]
        assert not share or share[0] < share[1]


def sets():
    return {"retain": tiny.RETAIN, "forget": tiny.FORGET}


@torch.no_grad()
def inputs_of(model, rows):
    """What each linear layer gets, and one of K for each token, in a pass for each row."""
    found = {}
    names = {module: f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    hooks = [
        module.register_forward_pre_hook(lambda m, x: found.setdefault(names[m], []).append(x[0][0].double()))
        for module in names
    ]
    for row in rows:
        ids = torch.tensor(row.ids)
        one = torch.nn.functional.one_hot(ids, model.config.vocab_size)
        found.setdefault("model.embed_tokens.weight", []).append(one.double())
        model(input_ids=ids[None])
    for hook in hooks:
        hook.remove()
    return found


def test_below_an_adapter_the_base_is_the_anchor(model_folder, data, tmp_path):
    options = {
        "model": str(model_folder),
        "forget": str(data / "forget.jsonl"),
        "retain": str(data / "retain.jsonl"),
        "train.use_cpu": True,
        "train.save_strategy": "no",
    }
    adapter = {"objective": "NPO+GD", "train.learning_rate": 1e-2, "train.num_train_epochs": 3, "lora.r": 2}
    target = unlearn(read_recipe(None, {**options, **adapter}), tmp_path / "target", quiet=True)
    scaled = {"objective": "RESET", "objective.reset": 0.4, "objective.level": 7.0, "train.max_steps": 1}
    scaled |= {"model": str(target), "train.learning_rate": 1e-30, "train.weight_decay": 0}
    run = unlearn(read_recipe(None, {**options, **scaled}), tmp_path / "run", quiet=True)
    base, full, now = (load_model(place)[0].state_dict() for place in (model_folder, target, run))
    name = "model.layers.0.mlp.up_proj.weight"
    torch.testing.assert_close(now[name], base[name] + 0.6 * (full[name] - base[name]), rtol=0, atol=1e-6)
    assert not torch.allclose(full[name], base[name], atol=1e-4)
    recorded = json.loads((run / "environment.json").read_text())["fingerprints"]
    assert recorded["anchor_model"] == fingerprint(load_model(model_folder)[0])


def test_an_epoch_is_one_pass_over_the_retain_set_and_some_steps_have_forget_rows():
    plan = RetainLed(0, 5, 22, rows_per_step=4, steps=6, every=3)
    drawn = []
    for epoch in range(10):
        order = plan.order(epoch)
        assert sorted(plan.retain_row(epoch, i) for i in order) == list(range(22))
        for step in range(6):
            mine = [plan.forget_row(epoch, i) for i in order[4 * step : 4 * step + 4]]
            assert (None not in mine) if step in (2, 5) else set(mine) == {None}
            drawn += [row for row in mine if row is not None]
    counts = [drawn.count(row) for row in range(5)]
    assert max(counts) - min(counts) <= 5  # the last step of an epoch is short, and its place in the draw goes by


def test_in_the_first_pass_after_a_reset_the_hinge_rests(tokenizer, tmp_path):
    def passes(epochs, **options):
        args = runs.arguments(tmp_path, batch=2, num_train_epochs=epochs, learning_rate=1e-9)
        objective = build_objective("RESET", {"every": 2, **options})
        unseen = {} if "level" in options else {"holdout": UNSEEN}
        sets = tiny.FORGET, tiny.RETAIN, tokenizer
        anchor = "fresh" if options["reset"] else None
        model = runs.target(tokenizer)
        run = UnlearningTrainer(model, args, *sets, objective=objective, anchor=anchor, **unseen)
        plan, steps = run.pairing, range(len(tiny.RETAIN))
        return [any(plan.forget_row(epoch, i) is not None for i in steps) for epoch in range(epochs)]

    assert passes(3, reset=0.5) == [False, True, True]
    assert passes(3, reset=0.0) == [True, True, True], "nothing was reset"
    assert passes(3, reset=0.5, level=7.0) == [True, True, True], "the level is not the model's"
    assert passes(1, reset=0.5) == [True], "there is no other pass"


def test_steps_without_forget_rows_count_none(tokenizer, tmp_path):
    objective = build_objective("RESET", {**OPTIONS, "every": 3, "reset": 0.0})
    args = runs.arguments(tmp_path, batch=2, num_train_epochs=2)
    run = UnlearningTrainer(runs.target(tokenizer), args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective)
    run.train()
    log = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    assert len(log) == 2 * -(-len(tiny.RETAIN) // 2)
    for entry in log:
        assert (entry["terms"]["RESET"] > 0) == (entry["step"] % 3 == 0)
        assert entry["loss"] == pytest.approx(entry["terms"]["RESET"] + entry["terms"]["GD"], rel=1e-5)


@pytest.fixture
def words(model_folder, data, tmp_path):
    def command(*more, retain="retain.jsonl"):
        made = ["unlearn", "--model", model_folder, "--forget", data / "forget.jsonl", "--retain", data / retain]
        made += ["--objective", "RESET", "--out", tmp_path / "run", "--quiet", "train.use_cpu=true", *more]
        return CliRunner().invoke(app, list(map(str, made)))

    return command


@pytest.mark.parametrize("held", ["below", "both"])
def test_levels_are_those_of_rows_never_seen(words, model_folder, tmp_path, held):
    holdout = tmp_path / "holdout.jsonl"
    holdout.write_text('{"question": "Who is Zed?", "answer": "A tailor."}\n')
    done = words("--holdout", holdout, "objective.reset=0", "train.num_train_epochs=3", f"objective.held={held}")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "run" / "environment.json").read_text())["levels"]
    model, tokenizer = load_model(model_folder)
    turns = [{"role": "user", "content": "Who is Zed?"}, {"role": "assistant", "content": "A tailor."}]
    prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
    ids = tokenizer.apply_chat_template(turns)["input_ids"]
    ids = ids[: len(ids) - ids[::-1].index(tokenizer.eos_token_id)]  # the template's newline is not learned
    tokens = nats(model, Encoded(tuple(ids), len(prompt)))
    level = tokens.clamp(max=tokens.quantile(0.75)).mean() if held == "both" else tokens.mean()
    assert tokens.max() > tokens.quantile(0.75) + 0.1
    assert found[0] == pytest.approx(float(level), abs=1e-3)
    assert len(found) == 3


UNSEEN = [
    tiny.qa("Who is Zed?", "A tailor."),
    tiny.qa("Why?", "So."),
    tiny.qa("What is Zed called?", "Old Zed Marrow."),
]


@pytest.mark.parametrize("held", ["below", "both"])
def test_a_forget_row_is_held_at_the_level_of_rows_never_seen(tokenizer, tmp_path, held):
    model = runs.target(tokenizer)
    objective = build_objective("RESET", {"reset": 0.0, "every": 1, "hinge": 0.5, "held": held})
    args = runs.arguments(tmp_path, batch=5, num_train_epochs=1)  # the first step has each forget row once
    run = UnlearningTrainer(model, args, tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective, holdout=UNSEEN)
    forget, retain, unseen = (encoded(tokenizer, rows) for rows in (tiny.FORGET, tiny.RETAIN, UNSEEN))
    every = torch.cat([nats(model, row) for row in unseen])
    cap = every.quantile(0.75) if held == "both" else torch.tensor(torch.inf)
    mine, theirs = (torch.stack([nats(model, row).clamp(max=cap).mean() for row in rows]) for rows in (forget, unseen))
    hardness = (
        torch.tensor([Bigrams(retain, len(tokenizer)).mean_nll(row) for row in rows]) for rows in (forget, unseen)
    )
    expected = unseen_levels(mine, theirs, *hardness)
    run.train()
    assert list(run.control_levels.now) == [(i,) for i in range(5)]
    torch.testing.assert_close(torch.tensor(list(run.control_levels.now.values())), expected, atol=2e-3, rtol=0)
    gap = expected - mine
    hinge = 0.25 * (gap if held == "both" else gap.relu()).square().mean()
    logged = json.loads((tmp_path / "train_log.jsonl").read_text().splitlines()[0])["terms"]["RESET"]
    assert hinge > 0.1
    assert logged == pytest.approx(float(hinge), abs=2e-3)


def encoded(tokenizer, rows):
    return encode_all(tokenizer, [(row, None) for row in rows])


@torch.no_grad()
def nats(model, row):
    """Negative log-likelihood of each token of a row's completion."""
    logp = model(input_ids=torch.tensor([row.ids])).logits[0].log_softmax(-1)
    return -torch.stack([logp[i - 1, row.ids[i]] for i in range(row.start, len(row.ids))])


def test_a_run_resumed_within_an_epoch_keeps_the_epochs_level(tokenizer, tmp_path):
    def trainer(folder):
        options = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
        args = runs.arguments(folder, batch=2, **options)
        objective = build_objective("RESET", {"reset": 0.7, "every": 2, "hinge": 1.0, "held": "both"})
        sets = tiny.FORGET, tiny.RETAIN, tokenizer
        return UnlearningTrainer(runs.target(tokenizer), args, *sets, objective=objective, holdout=UNSEEN)

    whole = trainer(tmp_path / "whole")
    whole.train()
    steps = -(-len(tiny.RETAIN) // 2)
    assert steps >= 2
    first, second = whole.control_levels.means  # of the second pass and the third: the first has no forget rows
    assert first != second
    copy_killed(tmp_path / "whole", tmp_path / "killed", 2 * steps + 1)
    resumed = trainer(tmp_path / "killed")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.control_levels.means == [first, second]
    assert resumed.control_levels.now == whole.control_levels.now
    assert resumed.control_levels.cap == whole.control_levels.cap
    assert torch.equal(runs.weights(resumed.model), runs.weights(whole.model))


def test_with_an_adapter_the_level_is_that_of_the_model_with_it(tokenizer, tmp_path):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    options = {"reset": 0.0, "every": 1, "hinge": 1.0}
    args = runs.arguments(tmp_path, num_train_epochs=2, learning_rate=1e-2)
    sets = tiny.FORGET, tiny.RETAIN, tokenizer, lora
    objective = build_objective("RESET", options)
    run = UnlearningTrainer(runs.target(tokenizer), args, *sets, objective=objective, holdout=UNSEEN)
    run.train()
    first, second = run.control_levels.means
    assert abs(first - second) > 0.01, "the adapter alone has changed"


def test_what_it_cannot_do_it_says_before_it_starts(words, tokenizer, tmp_path, monkeypatch):
    def refused(*more):
        reset = () if "NPO+GD" in more else ("objective.reset=0.7",)
        done = words(*reset, *more)
        assert isinstance(done.exception, InputError), done.output
        assert not list(tmp_path.glob("run*"))
        return str(done.exception)

    assert "--holdout" in refused()
    assert "lora" in refused("objective.level=7", "lora.r=2")
    assert "train.noise" in refused("objective.level=7", "train.noise=0.5")
    assert "train_sampling_strategy" in refused("objective.level=7", "train.train_sampling_strategy=sequential")
    assert "no matrix" in refused("objective.level=7", "objective.layers=[7, 9]")
    assert "RESET+GD" in refused("objective.level=7", "--objective", "RESET+AP")
    assert "anchor" in refused("--objective", "NPO+GD", "--anchor", "fresh")
    monkeypatch.setattr("expunge.training.steps.reset.MOST_PARAMETERS_PER_TOKEN", 1)
    text = " ".join(refused("objective.level=7").split())
    parameters = tiny.tiny_llama(tokenizer).num_parameters()
    assert f"{parameters:,} parameters" in text
    assert f"{20 * parameters:.1e} tokens" in text
    assert "--anchor" in text


def test_a_trainer_needs_to_be_told_how_far(tokenizer, tmp_path):
    objective = build_objective("RESET", {"level": 7.0})
    with pytest.raises(InputError, match=r"objective\.reset is not given.*in one process.*0\.7"):
        UnlearningTrainer(
            runs.target(tokenizer), runs.arguments(tmp_path), tiny.FORGET, tiny.RETAIN, tokenizer, objective=objective
        )


def test_options_are_checked():
    assert [part.name for part in build_objective("RESET", OPTIONS).terms] == ["RESET", "GD"]
    for key, value in (("reset", 1.5), ("modules", "norms"), ("level", 0), ("every", 0)):
        with pytest.raises(InputError, match=key):
            build_objective("RESET", {key: value})
    with pytest.raises(InputError, match=r"objective\.level"):
        RESET().loss(Views({"forget": single_batch(torch.zeros(1), [1])}))
