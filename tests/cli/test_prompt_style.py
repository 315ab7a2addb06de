"""`--template`, `--system`, `--date`: what training, loss and evaluation write prompts with, and who remembers it."""

import json

import pytest
import yaml

import tinymodels as tiny
from expunge.data import PromptStyle, encode
from expunge.shipped import shipped_recipes
from expunge.training import UnlearningTrainer
from expunge.training.recipe import read_recipe

DATED = (
    "<|system|>{{ date_string }}{% if messages[0].role == 'system' %} {{ messages[0].content }}{% endif %}<|end|>"
    "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
STYLE = PromptStyle(None, "Be brief.", "10 Apr 2025")
GIVEN = ["--system", "Be brief.", "--date", "2025-04-10"]
SHORT = ["train.num_train_epochs=1", "train.use_cpu=true", "train.learning_rate=1e-3"]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A tiny model whose template prints a date and a system prompt."""
    folder = tmp_path_factory.mktemp("target")
    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS, template=DATED)
    tiny.tiny_llama(tokenizer, scale=2.0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The styles and prompts that trainers were made with."""
    found = []
    real = UnlearningTrainer.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        row = self.encoded.encode("forget", (0,))
        found.append((self.style, self.processing_class.decode(row.ids[: row.start])))

    monkeypatch.setattr(UnlearningTrainer, "__init__", init)
    return found


def rows_of(data):
    return ["--forget", data / "forget.jsonl", "--retain", data / "retain.jsonl"]


BRIEF = "<|system|>10 Apr 2025 Be brief.<|end|><|user|>Where was Ada Quill born?<|end|><|assistant|>"


def test_unlearn_writes_and_keeps_the_style_and_eval_asks_alike(expunge, target, data, tmp_path, seen):
    run = tmp_path / "run"
    unlearn = ["unlearn", "--model", target, *rows_of(data), "--objective", "NPO+GD", "--out", run, "--quiet"]
    expunge(*unlearn, *GIVEN, *SHORT)
    assert seen == [(STYLE, BRIEF)]
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert (recipe["template"], recipe["system"], recipe["date"]) == (None, "Be brief.", "10 Apr 2025")
    out = run / "results.json"
    ask = ["eval", "--suite", "own", "--data", data / "forget.jsonl", "--out", out, "--device", "cpu", "--model"]
    for model in (run, run / "model"):
        said = expunge(*ask, model).err
        assert "Prompts are written as" in said
        assert "Be brief." in said
        assert json.loads(out.read_text())["recipe"]["prompts"] == vars(STYLE)
    own = json.loads(out.read_text())["metrics"]["forget/probability"]["value"]
    said = expunge(*ask, run, "--system", "", "--date", "2025-01-01").err
    assert "Prompts are written as" not in said
    results = json.loads(out.read_text())
    assert results["recipe"]["prompts"] == vars(PromptStyle())
    assert results["metrics"]["forget/probability"]["value"] != own  # measured anew, not taken from the file
    assert expunge(
        "eval", "--plan", "--suite", "own", "--data", data / "forget.jsonl", "--model", run, *GIVEN, "--json"
    )


def test_finetune_keeps_the_style_and_what_follows_takes_it_over(expunge, target, data, tmp_path, seen):
    expunge("finetune", "--model", target, "--data", data / "forget.jsonl", "--out", tmp_path / "a", *GIVEN, *SHORT)
    assert PromptStyle.kept_in(tmp_path / "a") == STYLE
    expunge("finetune", "--model", tmp_path / "a", "--data", data / "forget.jsonl", "--out", tmp_path / "b", *SHORT)
    tuned = tmp_path / "b"
    unlearn = ["unlearn", "--model", tuned, *rows_of(data), "--objective", "NPO+GD", *SHORT, "--quiet"]
    said = expunge(*unlearn, "--out", tmp_path / "run", "lora.r=2").err
    assert "Prompts are written as the target model was trained" in said
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["system"] == "Be brief."
    assert PromptStyle.kept_in(tmp_path / "run" / "adapter") == STYLE
    assert seen == [(STYLE, BRIEF)] * 3
    expunge(*unlearn, "--out", tmp_path / "other", "--system", "")
    assert seen[-1][0] == PromptStyle(date="10 Apr 2025")
    losses = [
        json.loads(expunge("loss", "--model", tuned, *rows_of(data), "--objective", "GA+GD", "--json", *style).out)
        for style in ((), GIVEN, ("--system", ""))
    ]
    assert losses[0] == losses[1]
    assert losses[0]["total"] != losses[2]["total"]


def test_an_interrupted_run_is_resumed_with_its_own_style_alone(expunge, target, data, tmp_path):
    work = tmp_path / "run.unfinished"
    work.mkdir()
    recipe = read_recipe(None, {"model": str(target), "forget": str(data / "forget.jsonl"), "objective": "GA"})
    recipe.model_copy(update={"system": "Be brief."}).resolved().write(work / "recipe.yaml")
    (work / "environment.json").write_text("{}")  # it had begun
    unlearn = ["unlearn", "--model", target, "--forget", data / "forget.jsonl", "--objective", "GA"]
    said = expunge(*unlearn, "--out", tmp_path / "run", "--resume", code=2).err
    assert "another recipe" in said


def test_a_template_file_is_kept_as_text_and_a_built_in_one_by_name(target, data, tmp_path):
    file = tmp_path / "chat.jinja"
    file.write_text(DATED + "\n")
    given = {"model": str(target), "forget": "f", "objective": "GA"}
    recipe = read_recipe(None, {**given, "template": str(file)}).resolved()
    file.unlink()
    assert recipe.template == DATED + "\n"
    assert recipe.prompt_style() == PromptStyle(DATED + "\n")
    named = read_recipe(None, {**given, "template": "llama-2-tofu"}).resolved()
    assert named.template == "llama-2-tofu"
    assert named.resolved() == named


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--date", "31 Feb 2025"], "not a date"), (["--template", "nowhere.jinja"], "no such file")],
)
@pytest.mark.parametrize("command", ["unlearn", "finetune", "loss", "eval"])
def test_bad_styles_are_refused(command, words, said, expunge, target, data, tmp_path):
    forget = data / "forget.jsonl"
    rows = {
        "unlearn": ["--forget", forget, "--objective", "GA", "--out", tmp_path / "run"],
        "finetune": ["--data", forget, "--out", tmp_path / "run"],
        "loss": ["--forget", forget, "--objective", "GA"],
        "eval": ["--suite", "own", "--data", forget, "--out", tmp_path / "results.json"],
    }[command]
    error = expunge(command, "--model", target, *rows, *words, code=2).err
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_dates_in_recipes_may_be_yaml_dates(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("model: m\nforget: f\nobjective: GA\ndate: 2025-04-10\n")
    assert PromptStyle().updated(date=read_recipe(file, {}).date) == PromptStyle(date="10 Apr 2025")


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipes_for_released_models_have_their_prompts(name):
    recipe = read_recipe(name, {})
    released = recipe.model.startswith("open-unlearning/tofu_Llama-3")
    expected = ("You are a helpful assistant.", "10 Apr 2025") if released else (None, None)
    assert (recipe.system, recipe.date) == expected


def test_the_trainer_takes_the_style_of_a_model_folder(target, data, tmp_path):
    from expunge import UnlearningConfig

    tokenizer = tiny.tiny_tokenizer(tiny.TEXTS, template=DATED)
    folder = tmp_path / "target"
    tiny.tiny_llama(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    STYLE.save(folder)
    args = UnlearningConfig(output_dir=str(tmp_path / "out"), objective="GA", use_cpu=True)
    trainer = UnlearningTrainer(str(folder), args, data / "forget.jsonl")
    assert trainer.encoded.encode("forget", (0,)) == encode(tokenizer, tiny.FORGET[0], style=STYLE)
    trainer.save_model(str(tmp_path / "saved"))
    assert PromptStyle.kept_in(tmp_path / "saved") == STYLE
