"""The frozen model: any model, never two in memory, its stored values whole or computed again."""

import gc
import json
import math
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from transformers import PreTrainedModel

import tinymodels as tiny
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.cli.main import main
from expunge.errors import InputError
from expunge.models import fingerprint, load_model
from thinned import thinned

OBJECTIVES = {"NPO+KL": {}, "RMU+EMBED": {"RMU.layer": 1, "EMBED.layer": 1}, "AltPO+GD": {}}


@pytest.fixture(scope="module")
def places(tokenizer, tmp_path_factory):
    """The first model, a later one, and one with other words."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in (("first", 1), ("later", 2)):
        tiny.tiny_llama(tokenizer, seed=seed, scale=2.0).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    words = tiny.tiny_tokenizer(tiny.TEXTS, vocab_size=400)
    tiny.tiny_llama(words, seed=1).save_pretrained(folder / "other words")
    words.save_pretrained(folder / "other words")
    tiny.tiny_llama(tokenizer, seed=1, hidden=64).save_pretrained(folder / "wider")
    tokenizer.save_pretrained(folder / "wider")
    return folder


def trainer(folder, model, objective="NPO+KL", reference=None, lora=False, **options):
    args = UnlearningConfig(
        output_dir=str(folder),
        objective=objective,
        objective_options=OBJECTIVES.get(objective, {}),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        **{"num_train_epochs": 2, "learning_rate": 1e-3, "save_strategy": "no", "warmup_steps": 0, **options},
    )
    adapter = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None
    sets = tiny.FORGET, tiny.RETAIN
    return UnlearningTrainer(model, args, *sets, peft_config=adapter, refusals=tiny.REFUSALS, reference=reference)


def log(folder):
    return [json.loads(line) for line in (Path(folder) / "train_log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("objective", thinned(OBJECTIVES, "NPO+KL"))
def test_the_starting_model_by_name_gives_what_it_gives_by_default(objective, lora, places, tmp_path):
    trainer(tmp_path / "a", places / "first", objective, lora=lora).train()
    trainer(tmp_path / "b", places / "first", objective, places / "first", lora).train()
    for a, b in zip(log(tmp_path / "a"), log(tmp_path / "b"), strict=True):
        assert a["terms"] == pytest.approx(b["terms"], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("lora", [False, True])
def test_another_model_is_what_the_objective_compares_with(lora, places, tmp_path):
    """At the first step KL is the divergence of the later model from the first, and NPO's margins are not zero."""
    trainer(tmp_path / "itself", places / "later", lora=lora).train()
    run = trainer(tmp_path / "first", places / "later", reference=places / "first", lora=lora)
    run.train()
    run.save_model(str(tmp_path / "first" / "model"))
    itself, first = log(tmp_path / "itself")[0]["terms"], log(tmp_path / "first")[0]["terms"]
    assert itself["KL"] == pytest.approx(0, abs=1e-6)
    assert itself["NPO"] == pytest.approx(20 * torch.tensor(2.0).log().item(), rel=1e-4)
    values = expected(places)
    assert first == pytest.approx(values, rel=1e-4)
    environment = json.loads((tmp_path / "first" / "environment.json").read_text())
    assert environment["fingerprints"]["reference_model"] == fingerprint(load_model(places / "first", device="cpu")[0])
    assert f"reference: {places / 'first'}" in (tmp_path / "first" / "recipe.yaml").read_text()


def expected(places):
    """What `expunge loss` says of the later model against the first, each forget row with the retain row it met."""
    from expunge.data import encode
    from expunge.training.batching import VIEWS, Pairing

    (later, words), (first, _) = (load_model(places / name, device="cpu") for name in ("later", "first"))
    pairing = Pairing(42, len(tiny.FORGET), len(tiny.RETAIN))
    retain = [tiny.RETAIN[VIEWS["retain"].keys(pairing, 0, i)[0][0]] for i in range(len(tiny.FORGET))]

    def logp(model, row):
        encoded = encode(words, row)
        with torch.no_grad():
            every = model(input_ids=torch.tensor([encoded.ids])).logits[0].log_softmax(-1)[encoded.start - 1 : -1]
        return every, every[torch.arange(len(every)), torch.tensor(encoded.ids[encoded.start :])]

    margins = torch.stack([logp(first, row)[1].sum() - logp(later, row)[1].sum() for row in tiny.FORGET])
    divergences = [(logp(first, row)[0].exp() * (logp(first, row)[0] - logp(later, row)[0])).sum(-1) for row in retain]
    npo = -20 * torch.nn.functional.logsigmoid(0.1 * margins).mean()
    return {"NPO": float(npo), "KL": float(torch.cat(divergences).mean())}


def test_the_two_are_never_in_memory_together(places, tmp_path, monkeypatch):
    from expunge.models import load

    real, most = load.load_model, []

    def counting(*args, **kwargs):
        gc.collect()
        before = sum(isinstance(thing, PreTrainedModel) for thing in gc.get_objects())
        most.append(before)
        return real(*args, **kwargs)

    monkeypatch.setattr(load, "load_model", counting)
    trainer(tmp_path, places / "later", reference=places / "first")
    assert len(most) == 2
    assert most[0] == most[1], "the first is gone when the second is loaded"


@pytest.mark.parametrize(
    ("reference", "objective", "said"),
    [
        ("other words", "NPO+KL", "another tokenizer"),
        ("wider", "RMU+EMBED", "64 wide, the target's 32"),
        ("first", "SimNPO+GD", "compares with no reference model"),
        ("nowhere", "NPO+KL", "nowhere"),
    ],
)
def test_a_reference_that_cannot_be_compared_with(reference, objective, said, places, tmp_path):
    with pytest.raises(InputError, match=said):
        trainer(tmp_path, places / "later", objective, places / reference)


def test_the_command_takes_one_and_says_where_it_would_be_ignored(places, data, tmp_path, monkeypatch, capsys):
    def expunge(*words):
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, words)])
        try:
            main()
        except SystemExit as stop:
            return stop.code or 0, capsys.readouterr().err
        return 0, ""

    words = [
        "unlearn",
        "--model",
        places / "later",
        "--reference",
        places / "first",
        "--quiet",
        "--out",
        tmp_path / "run",
    ]
    words += ["--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl", "train.use_cpu=true"]
    assert expunge(*words, "train.num_train_epochs=1", "train.learning_rate=1e-3")[0] == 0
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["fingerprints"]["reference_model"] == fingerprint(load_model(places / "first", device="cpu")[0])
    code, error = expunge(*words[:-1], "--objective", "SimNPO+GD", "train.use_cpu=true", "--out", tmp_path / "other")
    assert (code, "compares with no reference model" in error) == (2, True)


def test_the_reference_is_asked_as_the_model_is(expunge, places, data):
    """Beside itself, a model's NPO is 2 / beta log 2."""
    words = ["loss", "--model", places / "first", "--reference", places / "first", "--forget", data / "forget.jsonl"]
    said = expunge(*words, "--objective", "NPO", "--system", "Be brief.", "--json", "objective.beta=0.5").out
    assert json.loads(said)["total"] == pytest.approx(4 * math.log(2), rel=1e-5)


def test_loss_draws_no_bars_of_what_it_computes_first(expunge, places, data):
    """Neither of answers that the reference writes nor of its values."""
    sets = ["--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]
    words = ["loss", "--model", places / "later", "--reference", places / "first", *sets, "--objective", "AltPO+GD"]
    said = expunge(*words).err
    assert [bar for bar in ("alternative answers", "reference values") if bar in said] == []


DAMAGE = {
    "missing": lambda folder: (folder / "hidden.bin").unlink(),
    "short": lambda folder: _change(folder / "hidden.bin", lambda b: b[: len(b) // 2]),
    "altered": lambda folder: _change(folder / "hidden.bin", lambda b: b[:100] + bytes([b[100] ^ 64]) + b[101:]),
    "another number": lambda folder: _change(
        folder / "reference.json", lambda b: b.replace(b'"forget 0": ', b'"forget 0": 1')
    ),
    "not JSON": lambda folder: _change(folder / "reference.json", lambda b: b[:-20]),
}


def _change(file, how):
    before = file.read_bytes()
    file.write_bytes(how(before))
    assert file.read_bytes() != before


@pytest.mark.filterwarnings("ignore:Training has changed")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_values_are_noticed_and_computed_again(damage, places, tmp_path):
    trainer(tmp_path, places / "first", objective="DPO+KL").train()
    before = log(tmp_path)
    DAMAGE[damage](tmp_path / "reference")
    with pytest.warns(UserWarning, match="stored reference values are damaged or missing"):
        trainer(tmp_path, places / "first", objective="DPO+KL").train()
    assert [entry["terms"] for entry in log(tmp_path)] == [entry["terms"] for entry in before]


def test_values_of_another_model_are_not_taken(places, tmp_path):
    trainer(tmp_path, places / "first").train()
    trainer(tmp_path, places / "later").train()
    assert log(tmp_path)[0]["terms"]["KL"] == pytest.approx(0, abs=1e-6)


def test_stored_values_are_read_and_not_computed_again(places, tmp_path, monkeypatch):
    trainer(tmp_path, places / "first").train()

    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr("expunge.training.frozen._compute", refuse)
    trainer(tmp_path, places / "first").train()
