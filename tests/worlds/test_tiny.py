"""The tiny model and its tokenizer."""

import pytest
import torch

from expunge.data import Row, Turn, encode, encode_prompt, end_of_turn
from expunge.worlds.corpus import make_world
from expunge.worlds.tiny import tiny_llama, train_tokenizer


@pytest.fixture(scope="module")
def texts():
    rows = make_world(people=10, seed=0).files["full"]
    return [text for row in rows for text in (row["question"], row["answer"])]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return train_tokenizer(texts, vocab_size=800)


def row(question: str, answer: str) -> Row:
    return Row((Turn("user", question),), answer)


@pytest.mark.parametrize("text", ["Where was Ann born?", "  two  spaces\n\n", "Привет, мир! 你好 🙂", "a\x00b\t<|e"])
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_same_texts_same_tokenizer(texts, tokenizer, tmp_path):
    assert len(tokenizer) == 800
    for name, each in (("a", tokenizer), ("b", train_tokenizer(texts, vocab_size=800))):
        each.save_pretrained(tmp_path / name)
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_corpus_words_become_few_tokens(texts, tokenizer):
    tokens = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    assert tokens < sum(map(len, texts)) / 3


def test_chat_template_ends_the_answer_once(tokenizer):
    encoded = encode(tokenizer, row("Where?", "There."))
    assert tokenizer.decode(encoded.ids) == "<|user|>Where?<|end|><|assistant|>There.<|end|>"
    assert tokenizer.decode(encoded.ids[encoded.start :]) == "There.<|end|>"
    assert encoded.ids[encoded.start :].count(tokenizer.eos_token_id) == 1
    assert end_of_turn(tokenizer) == tokenizer.eos_token_id != tokenizer.pad_token_id


def test_prompt_is_the_beginning_of_the_row(tokenizer):
    for answer in ("There.", " There.", "\nThere", "<|", "2"):
        encoded = encode(tokenizer, row("Where is it?", answer))
        assert list(encoded.ids[: encoded.start]) == encode_prompt(tokenizer, row("Where is it?", answer))


def test_conversations_have_every_role(tokenizer):
    turns = [{"role": r, "content": c} for r, c in (("system", "S"), ("user", "U"), ("assistant", "A"), ("user", "V"))]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>S<|end|><|user|>U<|end|><|assistant|>A<|end|><|user|>V<|end|><|assistant|>"


def test_template_and_special_tokens_survive_saving(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert encode(again, row("Where?", "There.")) == encode(tokenizer, row("Where?", "There."))
    assert (again.eos_token_id, again.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_about_a_million_parameters(texts):
    model = tiny_llama(train_tokenizer(texts))
    assert 0.8e6 < sum(p.numel() for p in model.parameters()) < 1.5e6


def test_the_model_has_the_shape_that_its_width_says(tokenizer):
    config = tiny_llama(tokenizer, hidden=128, layers=2, heads=8).config
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (2, 8, 8)
    assert config.intermediate_size == 352  # 8/3 of 128 is 341.3
    assert not config.tie_word_embeddings
    assert (config.eos_token_id, config.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert tokenizer.convert_ids_to_tokens([config.eos_token_id, config.pad_token_id]) == ["<|end|>", "<|pad|>"]


def test_seed_decides_the_weights_and_nothing_else(tokenizer):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    a, b, c = (tiny_llama(tokenizer, seed=s, hidden=32, layers=2).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["lm_head.weight"], c["lm_head.weight"])


def test_model_reloads_in_plain_transformers(tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM

    model = tiny_llama(tokenizer, seed=0, hidden=32, layers=2).eval()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([encode(tokenizer, row("Where?", "There.")).ids])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, again(ids).logits)
    assert again.generation_config.eos_token_id == tokenizer.eos_token_id
