"""Evaluations that can be repeated, and the edits between two of them, each of which must lead to new numbers."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from evaluation.tiny import SPECIAL, TEMPLATE, WORDS, bert_folder, four_sets, question_rows

SUITE = """
import stale_helper
from expunge.evaluation import SetSpec, Suite
from expunge.metrics.base import Metric
from expunge.metrics.probability import PROBABILITY

MOST = 3


def counted(limit):
    def words(example):
        return None if example.generation is None else float(min(MOST, limit, stale_helper.count(example.generation)))

    return words


def halved(values, kind):
    return values / 2


WORDS = Metric(
    name="words",
    per_example=counted(9),
    terms=halved,
    definition="half the number of words, at most three",
    source="mine",
    needs=frozenset({"generation"}),
)
SUITE = Suite(
    name="mine",
    source="me",
    summary="words",
    sets=(
        SetSpec("forget", "forget10_perturbed", "forget"),
        SetSpec("retain", "retain_perturbed", "retain", stop_at=("rome",)),
    ),
    metrics=(WORDS, PROBABILITY),
    max_tokens=20,
    limit_counts_prompt=False,
)
"""
HELPER = "def count(text):\n    return len(text.split())\n"
Options = dict[str, Any]


def options_of(base: str, place: Path) -> Options:
    """What `evaluate` is given in one of the evaluations."""
    data = {"data": str(place / "data")}
    judges = {
        "embedding_model": str(place / "embedder"),
        "nli_model": str(place / "nli"),
        "classifiers": {"gibberish": (str(place / "classifier"), "noise")},
        "fluency_model": str(place / "fluency"),
    }
    return {
        "tofu": {"model": place / "model", "suite": "tofu", "forget_split": "forget10", **data, **judges},
        "custom": {"model": place / "model", "suite": f"{place / 'suite.py'}:SUITE", **data},
        "gemma2": {"model": place / "gemma2", "suite": "own", "data": str(place / "data" / "forget01_perturbed.json")},
        "adapter": {"model": place / "adapter", "suite": "own", "data": str(place / "data" / "holdout10.json")},
    }[base]


def build(place: Path) -> None:
    """Write models, judges, rows and a suite."""
    torch.manual_seed(0)
    tokenizer = bpe_tokenizer()
    shape = {
        "vocab_size": len(tokenizer) + 1,  # room for a token that is added
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "initializer_range": 0.5,
    }
    gemma = AutoConfig.for_model("gemma2", **shape, sliding_window=6, query_pre_attn_scalar=8)
    for name, model in {
        "model": LlamaForCausalLM(LlamaConfig(**shape)),
        "fluency": LlamaForCausalLM(LlamaConfig(**shape)),
        "gemma2": AutoModelForCausalLM.from_config(gemma),
    }.items():
        model.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained(place / "model"), LoraConfig(r=2, init_lora_weights=False)
    )
    adapted.save_pretrained(place / "adapter")
    write_json(place / "adapter" / "adapter_config.json", base_model_name_or_path=str(place / "model"))
    tokenizer.save_pretrained(place / "adapter")
    encoder = bert_folder(place / "encoder", BertModel)
    modules = [Transformer(encoder), Pooling(16)]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(place / "embedder"))
    bert_folder(place / "nli", BertForSequenceClassification, id2label={0: "no", 1: "ENTAILMENT"})
    bert_folder(place / "classifier", BertForSequenceClassification, id2label={0: "clean", 1: "noise", 2: "salad"})
    (place / "data").mkdir()
    sets = four_sets()
    for configuration, rows in {
        "forget10_perturbed": sets["forget"],
        "forget01_perturbed": sets["forget"][:2],
        "retain_perturbed": sets["retain"],
        "real_authors_perturbed": sets["real_authors"],
        "world_facts_perturbed": sets["world_facts"],
        "holdout10": question_rows(["city", "red"]),
        "holdout01": question_rows(["blue", "z"]),
    }.items():
        lines = [json.dumps({"question": row.prompt, "answer": row.completion, **row.columns}) for row in rows]
        (place / "data" / f"{configuration}.json").write_text("\n".join(lines))
    (place / "suite.py").write_text(SUITE)
    (place / "stale_helper.py").write_text(HELPER)


def bpe_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-pair encoding with merges, a normaliser and a pre-tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[("<bos>", 1)])
    names = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<eos>"}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    made.chat_template = TEMPLATE
    return made


@dataclass(frozen=True)
class Edit:
    """One edit: it changes files of the place, or returns other options."""

    name: str
    apply: Callable[[Path], Options | None]
    base: str = "tofu"
    options: Options = field(default_factory=dict)


def write_json(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def keys(file: str, **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file."""
    return lambda place: write_json(place / file, **changes)


def tokenizer_part(edit: Callable[[dict], None], folder: str = "model") -> Callable[[Path], None]:
    """Change tokenizer.json."""

    def apply(place: Path) -> None:
        file = place / folder / "tokenizer.json"
        content = json.loads(file.read_text())
        before = json.dumps(content)
        edit(content)
        assert json.dumps(content) != before
        file.write_text(json.dumps(content))

    return apply


def swapped_merges(content: dict) -> None:
    merges = content["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]


def added_token(content: dict) -> None:
    last = max(content["model"]["vocab"].values()) + 1
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    content["added_tokens"].append({"id": last, "content": "born in", **plain})


def text(file: str, old: str, new: str) -> Callable[[Path], None]:
    """Change text of a file."""

    def apply(place: Path) -> None:
        content = (place / file).read_text()
        assert old in content, f"{file} has no {old!r}"
        (place / file).write_text(content.replace(old, new))

    return apply


def rows(file: str, edit: Callable[[list[dict]], list[dict]]) -> Callable[[Path], None]:
    """Change the rows of a file."""

    def apply(place: Path) -> None:
        path = place / "data" / file
        path.write_text("\n".join(map(json.dumps, edit([json.loads(line) for line in path.read_text().splitlines()]))))

    return apply


def first(**changes: Any) -> Callable[[list[dict]], list[dict]]:
    """Change columns of the first row."""
    return lambda found: [found[0] | changes, *found[1:]]


def bit(file: str) -> Callable[[Path], None]:
    """Change one bit of the last weight."""

    def apply(place: Path) -> None:
        content = bytearray((place / file).read_bytes())
        content[-2] ^= 0x40
        (place / file).write_bytes(content)

    return apply


def given(**options: Any) -> Callable[[Path], Options]:
    """Change what `evaluate` is given."""
    return lambda place: options


EPSILON = keys("model/config.json", rms_norm_eps=1e-3)
FORGET = "forget10_perturbed.json"
EDITS = [
    # the model
    Edit("epsilon of the norms", EPSILON),
    Edit("rope theta", keys("model/config.json", rope_parameters={"rope_type": "default", "rope_theta": 5e5})),
    Edit(
        "rope scaling",
        keys("model/config.json", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
    ),
    Edit("activation", keys("model/config.json", hidden_act="gelu")),
    Edit("context", keys("model/config.json", max_position_embeddings=200)),
    Edit("tied head", keys("model/config.json", tie_word_embeddings=True)),
    Edit("one bit of the weights", bit("model/model.safetensors")),
    Edit("end tokens", keys("model/generation_config.json", eos_token_id=[2, 9])),
    Edit("cap of the logits", keys("gemma2/config.json", final_logit_softcapping=5.0), "gemma2"),
    Edit("cap of the attention", keys("gemma2/config.json", attn_logit_softcapping=5.0), "gemma2"),
    Edit("sliding window", keys("gemma2/config.json", sliding_window=4), "gemma2"),
    Edit("scale of the queries", keys("gemma2/config.json", query_pre_attn_scalar=16), "gemma2"),
    Edit("scale of the adapter", keys("adapter/adapter_config.json", lora_alpha=32), "adapter"),
    Edit("one bit of the adapter", bit("adapter/adapter_model.safetensors"), "adapter"),
    Edit("the model below the adapter", EPSILON, "adapter"),
    # its tokenizer
    Edit("merges", tokenizer_part(swapped_merges)),
    Edit("normaliser", tokenizer_part(lambda content: content.update(normalizer={"type": "Lowercase"}))),
    Edit("pre-tokenizer", tokenizer_part(lambda content: content["pre_tokenizer"].update(prepend_scheme="never"))),
    Edit("decoder", tokenizer_part(lambda content: content["decoder"].update(prepend_scheme="never"))),
    Edit(
        "post-processor",
        tokenizer_part(
            lambda content: content["post_processor"]["single"].insert(
                0, {"SpecialToken": {"id": "<bos>", "type_id": 0}}
            )
        ),
    ),
    Edit("added token", tokenizer_part(added_token)),
    Edit("a token that is no longer special", tokenizer_part(lambda c: c["added_tokens"][3].update(special=False))),
    Edit("clean-up of spaces", keys("model/tokenizer_config.json", clean_up_tokenization_spaces=True)),
    Edit("end-of-sequence token", keys("model/tokenizer_config.json", eos_token="<bot>")),
    Edit("chat template", text("model/chat_template.jinja", "<user> ", "<user> the ")),
    # the rows
    Edit("a question", rows(FORGET, first(question="who is ada"))),
    Edit("an answer", rows(FORGET, first(answer="rome"))),
    Edit("a paraphrase", rows(FORGET, first(paraphrased_answer="rome"))),
    Edit("a wrong answer", rows(FORGET, lambda found: first(perturbed_answer=found[0]["perturbed_answer"][:2])(found))),
    Edit("a fact", rows(FORGET, first(fact="paris"))),
    Edit("an answer to compare embeddings with", rows("real_authors_perturbed.json", first(original_answer="rome"))),
    Edit("a column that nothing reads", rows("retain_perturbed.json", first(note="a"))),
    Edit("one row fewer", rows("world_facts_perturbed.json", lambda found: found[:-1])),
    Edit("one row more", rows("retain_perturbed.json", lambda found: [*found, found[0] | {"question": "who is eve"}])),
    Edit("the order of rows", rows(FORGET, lambda found: found[::-1])),
    Edit("a row of the holdout", rows("holdout10.json", first(answer="rome"))),
    # what is asked for
    Edit("suite", given(suite="closer_look")),
    Edit("forget split", given(forget_split="forget01")),
    Edit("holdout", lambda place: {"holdout": f"{place / 'data'}:holdout01"}),
    # a custom suite
    Edit("the limit of answers", text("suite.py", "max_tokens=20", "max_tokens=7"), "custom"),
    Edit("what the limit counts", text("suite.py", "prompt=False", "prompt=True"), "custom"),
    Edit("where answers are cut", text("suite.py", '("rome",)', '("red",)'), "custom"),
    Edit("a kind", text("suite.py", 'perturbed", "retain"', 'perturbed", "forget"'), "custom"),
    Edit("a configuration", text("suite.py", "retain_perturbed", "real_authors_perturbed"), "custom"),
    Edit("a metric fewer", text("suite.py", "(WORDS, PROBABILITY)", "(WORDS,)"), "custom"),
    Edit("the code of a metric", text("suite.py", "min(MOST, limit", "max(MOST, limit"), "custom"),
    Edit("the code of its terms", text("suite.py", "values / 2", "values / 3"), "custom"),
    Edit("a constant of its file", text("suite.py", "MOST = 3", "MOST = 4"), "custom"),
    Edit("what a function closes over", text("suite.py", "counted(9)", "counted(2)"), "custom"),
    Edit("another file of the user's", text("stale_helper.py", "len(", "2 * len("), "custom"),
    # judges
    Edit("weights of the embedding model", bit("embedder/model.safetensors")),
    Edit("pooling", keys("embedder/1_Pooling/config.json", pooling_mode="cls")),
    Edit("length of the embedding model", keys("embedder/tokenizer_config.json", model_max_length=4)),
    Edit("weights of the NLI model", bit("nli/model.safetensors")),
    Edit("configuration of the NLI model", keys("nli/config.json", layer_norm_eps=1e-2)),
    Edit("which label is entailment", keys("nli/config.json", id2label={"0": "entailment", "1": "no"})),
    Edit(
        "tokenizer of the classifier",
        tokenizer_part(lambda content: content.update(normalizer={"type": "Lowercase"}), "classifier"),
    ),
    Edit("label of the classifier", lambda place: {"classifiers": {"gibberish": (str(place / "classifier"), "salad")}}),
    Edit("name of the classifier", lambda place: {"classifiers": {"odd": (str(place / "classifier"), "noise")}}),
    Edit("configuration of the fluency model", keys("fluency/config.json", rms_norm_eps=1e-3)),
    Edit("no NLI model", given(nli_model=None)),
]
