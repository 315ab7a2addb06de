"""Token ids of prompts and completions under templates of many shapes."""

import os

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import tinymodels as tiny
from expunge.data import PromptStyle, Row, Turn, encode, encode_all, encode_prompt, end_of_turn, opened, windows
from expunge.data.chat import TEXTS_AT_ONCE
from expunge.errors import InputError
from thinned import thinned

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
    "a space before the answer": (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}",
        " Pell.<|end|>",  # one token with the space, which the prompt alone ends with
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
        row, prompt = encode(tokenizer, ROW), encode_prompt(tokenizer, ROW)
        assert row.ids[: row.start] == tuple(prompt[: row.start])
        rest = tokenizer.decode(prompt[row.start :])
        assert rest == (" " if name == "a space before the answer" else "")

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
        said = tokenizer.decode(row.ids[: row.start])
        assert said.index("Hello") < said.index("Good day.") < said.index("The capital?")

    def test_many_rows_together_have_the_ids_of_each_alone(self, name):
        tokenizer = with_template(name)
        turns = (Turn("user", "Hello"), Turn("assistant", "Good day."), Turn("user", "The capital?"))
        passage = Row((), "The Osk runs through Pell, and Pell is the capital.")
        rows = [*tiny.FORGET, *tiny.RETAIN, Row(turns, "Pell.\n"), passage, opened(passage, 12), tiny.FORGET[0]]
        asked = [(row, text) for row in rows for text in (None, "I do not know.", " No. ")]
        style = PromptStyle(None, "Be brief.", "10 Apr 2025")
        for options in ({}, {"max_length": 60}, {"style": style}):
            together = encode_all(tokenizer, asked, **options)
            assert together == [encode(tokenizer, row, text, **options) for row, text in asked]
        alone = [encode(tokenizer, row, text) for row, text in asked if row.turns]
        template = {} if TEMPLATES[name][0] else {"chat_template": PromptStyle().text_for(tokenizer)}
        for (row, text), encoded in zip([pair for pair in asked if pair[0].turns], alone, strict=True):
            messages = [{"role": t.role, "content": t.content} for t in row.turns]
            messages.append({"role": "assistant", "content": row.completion if text is None else text})
            pins = {"date_string": "01 Jan 2025", "enable_thinking": False}
            theirs = tokenizer.apply_chat_template(messages, **pins, **template)["input_ids"]
            last = len(encoded.ids) - (name in ("no end of turn written",))
            assert encoded.ids[:last] == tuple(theirs[:last])


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


def test_a_prompt_that_fills_the_context_is_refused_and_one_token_less_is_not():
    tokenizer = with_template("nothing after it")
    row = encode(tokenizer, ROW)
    for length in (row.start - 1, row.start):
        with pytest.raises(InputError, match=f"has {row.start} tokens and fills the context of {length}"):
            encode(tokenizer, ROW, max_length=length)
    assert encode(tokenizer, ROW, max_length=row.start + 1).ids == row.ids[: row.start + 1]
    assert encode(tokenizer, ROW, max_length=len(row.ids)) == row


@pytest.mark.parametrize("setting", ["false", "true", None])
def test_the_tokenizer_uses_every_core_only_for_a_while(setting, monkeypatch):
    tokenizer = with_template("nothing after it")
    seen, name = [], "TOKENIZERS_PARALLELISM"
    real = type(tokenizer)._encode_plus
    monkeypatch.setattr(
        type(tokenizer), "_encode_plus", lambda *a, **k: (seen.append(os.environ[name]), real(*a, **k))[1]
    )
    monkeypatch.setenv(name, setting) if setting else monkeypatch.delenv(name, raising=False)
    encode(tokenizer, ROW)
    assert set(seen) == {"true"}
    assert os.environ.get(name) == setting
    tokenizer.chat_template = "{{ nothing.at.all }}"
    with pytest.raises(InputError):
        encode(tokenizer, ROW)
    assert os.environ.get(name) == setting


def test_more_texts_than_the_tokenizer_is_given_at_once():
    tokenizer = with_template("nothing after it")
    rows = [Row((), f"River {i}") for i in range(TEXTS_AT_ONCE + 3)]
    encoded = encode_all(tokenizer, [(row, None) for row in rows])
    assert [tokenizer.decode(row.ids) for row in encoded] == [row.completion for row in rows]


def cut(tokenizer, text, length, **columns):
    """The windows of one text, checked: nothing is lost, none is too long, and their token ids are known."""
    (rows,), known = windows(tokenizer, [Row((), text, columns)], length)
    assert "".join(row.completion for row in rows) == text
    assert all(row.columns == columns and row.completion for row in rows)
    assert known == {row.completion: tokenizer(row.completion)["input_ids"] for row in rows}
    assert max(map(len, known.values())) <= length
    for row in rows:
        assert encode_all(tokenizer, [(row, None)], length, known=known) == [encode(tokenizer, row, max_length=length)]
    return [row.completion for row in rows]


LONG = "The Osk runs through Pell. Naïve café – Привет! "


@pytest.mark.parametrize("length", thinned([8, 50, 64, 1000], 8, 64))
@pytest.mark.parametrize(
    "text", [LONG * 30, LONG * 1100, "Ж" * 700, " " * 3000, "a\n" * 2000, LONG * 300 + "Ж" * 900, "Osk."]
)
def test_long_text_is_cut_into_windows_that_lose_nothing(text, length):
    if length == 8 and len(text) > 50_000:
        text = text[:5000]
    parts = cut(with_template("none"), text, length, id=3)
    if text.startswith(LONG) and "Ж" not in text and length > 8:
        assert all(part[-1].isspace() for part in parts[:-1])
    tokens = len(with_template("none")(text)["input_ids"])
    assert -(-tokens // length) <= len(parts) < 2.5 * tokens / length + 2  # with 8, a word alone is too long


def test_windows_are_nearly_full_and_each_character_is_tokenised_once(monkeypatch):
    tokenizer = with_template("none")
    seen = []
    real = type(tokenizer)._encode_plus
    monkeypatch.setattr(
        type(tokenizer), "_encode_plus", lambda self, text, **k: (seen.extend(text), real(self, text, **k))[1]
    )
    text = LONG * 4000
    (rows,), known = windows(tokenizer, [Row((), text)], 100)
    encode_all(tokenizer, [(row, None) for row in rows], 100, known=known)
    assert sum(map(len, seen)) < 1.1 * len(text) + 20_000
    monkeypatch.undo()
    assert len(rows) * 100 < 1.3 * len(tokenizer(text)["input_ids"])


def test_text_that_fits_stays_whole_however_many_characters_a_token_has():
    vocabulary = {"<unk>": 0, "o" * 60: 1, "b": 2}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    fits = " ".join(["o" * 60] * 1000)
    assert cut(tokenizer, fits, 1000) == [fits]
    assert len(cut(tokenizer, fits + " b", 1000)) == 2


def test_rows_with_prompts_are_not_cut_and_a_character_cannot_be():
    tokenizer = with_template("none")
    rows = [ROW, opened(Row((), LONG * 30), 10)]
    assert windows(tokenizer, rows, 50) == ([[row] for row in rows], {})
    with pytest.raises(InputError, match=r"character .🙂. has 4 tokens, and a row may have 3"):
        windows(tokenizer, [Row((), "🙂🙂")], 3)


def test_a_completion_longer_than_the_context_is_cut_at_its_end():
    tokenizer = with_template("nothing after it")
    row, whole = encode(tokenizer, ROW, "Pell. " * 200, max_length=40), encode(tokenizer, ROW, "Pell. " * 200)
    assert row.ids == whole.ids[:40]
