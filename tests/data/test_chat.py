"""Token ids of prompts and completions under templates of many shapes."""

import pytest

import tinymodels as tiny
from expunge.data import Row, Turn, encode, encode_prompt, end_of_turn, windows

GENERATION = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TURN = "<|{{ m['role'] }}|>{{ m['content'] }}"

# name -> (template, the text a completion "Pell." must decode to)
TEMPLATES = {
    "newline after the end of turn": (tiny.NEWLINE_TEMPLATE, "Pell.<|end|>"),
    "nothing after it": ("{% for m in messages %}" + TURN + "<|end|>{% endfor %}" + GENERATION, "Pell.<|end|>"),
    "end of text after it": (
        "{% for m in messages %}"
        + TURN
        + "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% else %}<|endoftext|>{% endif %}",
        "Pell.<|end|>",
    ),
    "space before it": ("{% for m in messages %}" + TURN + " <|end|>{% endfor %}" + GENERATION, "Pell. <|end|>"),
    "no end of turn written": ("{% for m in messages %}" + TURN + "{% endfor %}" + GENERATION, "Pell.<|end|>"),
    "newline before the answer": (
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        "Pell.<|end|>",
    ),
    "an empty thinking block": (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}<think></think>{% endif %}"
        "{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>"
        "{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}",
        "Pell.<|end|>",
    ),
    "a date": (
        "<|system|>Today is {{ date_string }}<|end|>{% for m in messages %}"
        + TURN
        + "<|end|>{% endfor %}"
        + GENERATION,
        "Pell.<|end|>",
    ),
    "none": (None, " Pell.<|end|>"),
}
ROW = tiny.qa("What is the capital?", "Pell.")


def with_template(name, pad="<|pad|>"):
    return tiny.tiny_tokenizer(tiny.TEXTS, template=TEMPLATES[name][0], pad=pad)


@pytest.mark.filterwarnings("ignore:The tokenizer has no chat template")
@pytest.mark.parametrize("name", TEMPLATES)
class TestTemplates:
    def test_completion_is_the_answer_and_one_end_of_turn(self, name):
        tokenizer = with_template(name)
        row = encode(tokenizer, ROW)
        assert tokenizer.decode(row.ids[row.start :]) == TEMPLATES[name][1]
        assert list(row.ids[row.start :]).count(end_of_turn(tokenizer)) == 1
        assert row.ids[-1] == end_of_turn(tokenizer)

    def test_what_generation_is_given_is_what_training_saw(self, name):
        tokenizer = with_template(name)
        row = encode(tokenizer, ROW)
        assert encode_prompt(tokenizer, ROW) == list(row.ids[: row.start])

    def test_pad_equal_to_end_of_turn_changes_nothing(self, name):
        assert encode(with_template(name, pad="<|end|>"), ROW) == encode(with_template(name), ROW)

    def test_another_completion_has_the_same_prompt(self, name):
        tokenizer = with_template(name)
        own, other = encode(tokenizer, ROW), encode(tokenizer, ROW, "I do not know.")
        assert own.ids[: own.start] == other.ids[: other.start]
        assert "I do not know." in tokenizer.decode(other.ids[other.start :])

    def test_conversation_of_several_turns(self, name):
        tokenizer = with_template(name)
        turns = (Turn("user", "Hello"), Turn("assistant", "Good day."), Turn("user", "The capital?"))
        row = encode(tokenizer, Row(turns, "Pell."))
        assert tokenizer.decode(row.ids[row.start :]) == TEMPLATES[name][1]


def test_a_fallback_to_the_plain_template_is_said_aloud():
    with pytest.warns(UserWarning, match="no chat template"):
        encode(with_template("none"), ROW)


def test_an_answer_that_ends_in_a_newline_keeps_one_end_of_turn():
    tokenizer = with_template("newline after the end of turn")
    row = encode(tokenizer, tiny.qa("The capital?", "Pell.\n"))
    assert tokenizer.decode(row.ids[row.start :]) == "Pell.\n<|end|>"


def test_plain_text_is_predicted_from_its_second_token_on():
    tokenizer = with_template("none")
    row = encode(tokenizer, Row((), "The Osk runs through Pell."))
    assert row.start == 1
    assert tokenizer.decode(row.ids) == "The Osk runs through Pell."


def test_long_text_is_cut_into_windows_that_lose_nothing():
    tokenizer = with_template("none")
    text = "The Osk runs through Pell. Naïve café – Привет! " * 30
    parts = windows(tokenizer, Row((), text, {"id": 3}), max_length=50)
    assert len(parts) > 5
    assert "".join(part.completion for part in parts) == text
    assert all(len(encode(tokenizer, part).ids) <= 50 for part in parts)
    assert all(part.columns == {"id": 3} for part in parts)


def test_a_completion_longer_than_the_context_is_cut_at_its_end():
    tokenizer = with_template("nothing after it")
    row, whole = encode(tokenizer, ROW, "Pell. " * 200, max_length=40), encode(tokenizer, ROW, "Pell. " * 200)
    assert row.ids == whole.ids[:40]
