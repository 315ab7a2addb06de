"""Recipes, options and whole command lines of made-up values: used, or refused with a message; never a traceback."""

from contextlib import suppress

import pytest
import yaml
from hypothesis import strategies as st

from expunge import UnlearningConfig
from expunge.cli.main import main
from expunge.training.recipe import Recipe, read_recipe, shipped_recipes, split_words
from faults.fuzz import FEW_AND_MANY, fuzz, refusal

# Values that are next to right ones, or of another kind.
NUMBER = st.one_of(
    st.sampled_from([0, 1, -1, 2, 0.0, -0.0, 0.1, 1e-5, 1e308, 1e-320, float("nan"), float("inf"), -float("inf")]),
    st.sampled_from([10**30, -(10**30), 2**31, 2**63, True, False]),
)
WORD = st.sampled_from(
    [
        "",
        " ",
        "none",
        "null",
        "true",
        "auto",
        "1e-5",
        "0x10",
        "1_000",
        "NPO",
        "GD",
        "../x",
        "adamw_torch",
        "linear",
        "\0",
    ]
)
VALUE = st.recursive(
    st.one_of(NUMBER, WORD, st.none(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORD, inner, max_size=2)),
    max_leaves=3,
)
TRAIN = sorted(UnlearningConfig.__dataclass_fields__)
LORA = ["r", "alpha", "dropout", "target_modules", "rank"]
OBJECTIVES = [
    *(f"{a}+{b}" for a in ("NPO", "GA", "ME", "RMU", "FLAT") for b in ("GD", "KL", "AP")),
    "LLMU",
    "NPO",
    "GD",
    "+",
]
OPTIONS = ["name", "beta", "NPO.beta", "forget_weight", "retain_weight", "gamma", "weight", "GD.weight", "", "."]


RECIPES = st.fixed_dictionaries(
    {"model": st.one_of(st.just("m"), VALUE), "forget": st.one_of(st.just("f"), VALUE)},
    optional={
        "objective": st.one_of(
            st.sampled_from(OBJECTIVES),
            st.dictionaries(st.sampled_from(OPTIONS), st.one_of(VALUE, st.sampled_from(OBJECTIVES))),
        ),
        "train": st.one_of(st.dictionaries(st.sampled_from(TRAIN), VALUE, max_size=3), VALUE),
        "lora": st.one_of(st.dictionaries(st.sampled_from(LORA), VALUE, max_size=3), VALUE),
        **{
            name: st.one_of(VALUE, st.sampled_from(["bfloat16", "nf4", "sdpa", "2025-04-10", "plain"]))
            for name in Recipe.model_fields
            if name not in ("model", "forget", "objective", "train", "lora")
        },
    },
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("settings")


@pytest.mark.fault("recipes of strange values")
@FEW_AND_MANY
def test_a_recipe_is_used_or_refused(examples, place, model_folder, record_property):
    file = place / "recipe.yaml"

    def check(values):
        file.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
        if refusal(lambda: read_recipe(file, {})):
            return
        recipe = read_recipe(file, {"model": str(model_folder)}).resolved()
        recipe.write(place / "resolved.yaml")
        assert read_recipe(place / "resolved.yaml", {}).resolved() == recipe

    fuzz(RECIPES, check, examples, record_property)


LINES = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["drop", "twice", "indent", "cut", "tag", "anchor", "colon"])),
    max_size=4,
)
TAGS = [
    "!!python/object/apply:os.getcwd []",
    "!!python/name:os.system",
    "!!binary x",
    "!!set {a}",
    "!unknown 3",
    "!!int x",
]


def mangled(text, changes):
    lines = text.splitlines()
    for at, kind in changes:
        at %= len(lines)
        line = lines[at]
        lines[at] = {
            "drop": "",
            "twice": f"{line}\n{line}",
            "indent": f" {line}",
            "cut": line[: len(line) // 2],
            "tag": f"{line.partition(':')[0]}: {TAGS[at % len(TAGS)]}",
            "anchor": f"{line.partition(':')[0]}: *nowhere",
            "colon": line.replace(":", "", 1),
        }[kind]
    return "\n".join(lines)


@pytest.mark.fault("recipes, mangled")
@FEW_AND_MANY
def test_a_mangled_recipe_is_used_or_refused(examples, place, record_property):
    texts = [file.read_text() for file in shipped_recipes().values()]

    def check(example):
        text, changes = example
        (place / "mangled.yaml").write_text(mangled(text, changes))
        refusal(lambda: read_recipe(place / "mangled.yaml", {"model": "m", "forget": "f", "retain": "r"}))

    fuzz(st.tuples(st.sampled_from(texts), LINES), check, examples, record_property)


WORDS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([f"train.{name}" for name in TRAIN]), VALUE),
        st.tuples(
            st.sampled_from([*(f"lora.{name}" for name in LORA), *(f"objective.{name}" for name in OPTIONS)]), VALUE
        ),
        st.tuples(WORD, VALUE),
    ).map(
        lambda pair: (
            f"{pair[0]}={yaml.safe_dump(pair[1], default_flow_style=True).removesuffix('...' + chr(10)).strip()}"
        )
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.fault("options of strange values")
@FEW_AND_MANY
def test_options_are_used_or_refused(examples, record_property):
    def use(words):
        path, overrides = split_words(words)
        read_recipe(path, {"model": "m", "forget": "f", "retain": "r"} | overrides)

    def check(words):
        refusal(lambda: use(words))

    fuzz(WORDS, check, examples, record_property)


@pytest.mark.fault("settings in Python")
@FEW_AND_MANY
def test_settings_in_python_are_used_or_refused(examples, place, record_property):
    def check(options):
        refusal(lambda: UnlearningConfig(str(place / "run"), use_cpu=True, **options))

    names = [name for name in TRAIN if name not in ("output_dir", "use_cpu")]
    fuzz(st.dictionaries(st.sampled_from(names), VALUE, min_size=1, max_size=2), check, examples, record_property)


ARGUMENTS = {
    "unlearn": [
        "--model",
        "--forget",
        "--retain",
        "--objective",
        "--idk",
        "--out",
        "--dtype",
        "--quantization",
        "--launch",
    ],
    "eval": [
        "--model",
        "--data",
        "--suite",
        "--out",
        "--device",
        "--forget-split",
        "--holdout",
        "--batch-tokens",
        "--date",
    ],
    "finetune": ["--model", "--data", "--init", "--tokenizer", "--out", "--template", "--system", "--date"],
    "loss": ["--model", "--forget", "--objective", "--dtype"],
    "report": ["--out", "--redact"],
    "compare": ["--out"],
    "validate": [],
}
COMMANDS = st.sampled_from(list(ARGUMENTS)).flatmap(
    lambda command: st.tuples(
        st.just(command),
        st.lists(
            st.one_of(
                st.sampled_from(ARGUMENTS[command] or ["--help"]), st.one_of(WORD, NUMBER.map(str), st.text(max_size=5))
            ),
            max_size=6,
        ),
    )
)


@pytest.mark.fault("command lines")
@FEW_AND_MANY
def test_command_lines_are_used_or_refused(examples, place, record_property, monkeypatch, capsys):
    monkeypatch.chdir(place)

    def check(example):
        command, words = example
        monkeypatch.setattr("sys.argv", ["expunge", command, *(word.replace("\0", "0") for word in words)])
        with suppress(SystemExit):
            main()
        assert "Traceback" not in capsys.readouterr().err

    fuzz(COMMANDS, check, examples, record_property)
