"""Tiny real models, built on the spot: a Llama with a word-level tokenizer and chat template, a BERT, an NLI BERT."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from expunge import evaluate as evaluate_objects
from expunge.data import Row, Turn
from expunge.evaluation import ComparedWith, Execution, JudgeModels, Questions, Results

WORDS = ["who", "where", "what", "is", "was", "the", "a", "of", "in", "city", "author", "born", "book", "red", "blue"]
WORDS += ["paris", "rome", "berlin", "london", "ada", "bob", "eve", "dan", "0", "z"]
SPECIAL = ["<unk>", "<bos>", "<eos>", "<user>", "<bot>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<user> ' + m['content'] + ' <bot>' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' <eos>' }}{% endif %}{% endfor %}"
)


def word_tokenizer(special: list[str], **names: str) -> PreTrainedTokenizerFast:
    """One token per word, split at white space."""
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def causal_tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """A causal model's tokenizer; its padding token is its end token, as in many models."""
    names = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<eos>"}
    made = word_tokenizer(SPECIAL, **names)
    made.chat_template = template
    return made


def tiny_model(seed: int = 0) -> LlamaForCausalLM:
    """A two-layer Llama with random weights, large enough in scale that its distributions are far from uniform."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        initializer_range=0.5,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight[config.eos_token_id] *= 2  # most answers end soon, at different lengths
    return model


def bert_folder(folder: Path, kind: type, **settings) -> str:
    """Save a random BERT of the given kind with its tokenizer."""
    torch.manual_seed(0)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    config = BertConfig(
        vocab_size=len(special) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=1,
        initializer_range=0.5,
        **settings,
    )
    kind(config).eval().save_pretrained(folder)
    tokenizer = word_tokenizer(special, **names)
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save_pretrained(folder)
    return str(folder)


def question_rows(names: list[str]) -> list[Row]:
    """Rows with every column of TOFU's layout, of different lengths."""
    cities = ["paris", "rome", "berlin", "london"]
    rows = []
    for i, name in enumerate(names):
        city, *others = cities[i % 4 :] + cities[: i % 4]
        columns = {
            "paraphrased_answer": f"the city of {name} is {city}",
            "perturbed_answer": [f"{name} was born in {other}" + " city" * i for other in others],
            "original_answer": f"{name} was born in {city}",
        }
        rows.append(
            Row((Turn("user", f"where was {name} born" + " the author" * i),), f"{name} was born in {city}", columns)
        )
    return rows


def four_sets() -> dict[str, list[Row]]:
    """All four sets of the TOFU layout, small."""
    return {
        "forget": question_rows(["ada", "bob", "eve"]),
        "retain": question_rows(["dan", "eve"]),
        "real_authors": question_rows(["bob", "author"]),
        "world_facts": question_rows(["city", "book"]),
    }


def evaluate(model, tokenizer=None, out=None, **options) -> Results:
    """`expunge.evaluate`, each option by its own name, whichever of the objects it belongs to."""

    def of(kind: type):
        return kind(**{name: options.pop(name) for name in list(options) if name in kind.__dataclass_fields__})

    objects = {"compared_with": of(ComparedWith), "judges": of(JudgeModels), "execution": of(Execution)}
    questions = of(Questions)
    assert not options, f"no such options: {sorted(options)}"
    return evaluate_objects(model, questions, tokenizer, out=out, **objects)
