"""How conversations are written: template, system prompt and date, and what is kept beside a model."""

import pytest
from transformers import LlamaTokenizer

import tinymodels as tiny
from expunge.data import PromptStyle, Row, Turn, encode, encode_prompt, end_of_turn
from expunge.data.style import TEMPLATES
from expunge.errors import InputError

ROW = tiny.qa("What is the capital?", "Pell.")
DATED = (
    "<|system|>{{ date_string }}{% if messages[0].role == 'system' %}; {{ messages[0].content }}{% endif %}<|end|>"
    "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CLOCK = "{%- set today = strftime_now('%A %-d %b %Y, %H:%M') -%}<|system|>{{ today }}<|end|>" + DATED
DEFAULT = PromptStyle()


def tokenizer_with(template):
    return tiny.tiny_tokenizer(tiny.TEXTS, template=template)


def written(template, style=DEFAULT, row=ROW):
    tokenizer = tokenizer_with(template)
    return tokenizer.decode(encode(tokenizer, row, style=style).ids)


def test_the_date_is_pinned_and_can_be_chosen():
    assert written(DATED).startswith("<|system|>01 Jan 2025<|end|><|user|>")
    for given in ("10 Apr 2025", "2025-04-10"):
        assert written(DATED, DEFAULT.updated(date=given)).startswith("<|system|>10 Apr 2025<|end|>")


def test_a_template_with_a_clock_of_its_own_is_given_the_same_date():
    assert written(CLOCK).startswith("<|system|>Wednesday 1 Jan 2025, 00:00<|end|><|system|>01 Jan 2025<|end|>")
    assert written(CLOCK, DEFAULT.updated(date="2025-04-10")).startswith("<|system|>Thursday 10 Apr 2025, 00:00")
    asked = "{% if strftime_now is defined %}{{ strftime_now('100%% %Y') }}{% endif %}" + DATED
    assert written(asked).startswith("100% 2025")


@pytest.mark.parametrize("date", ["31 Feb 2025", "tomorrow", "10/04/2025", "", "2025-13-01"])
def test_a_bad_date_is_refused(date):
    with pytest.raises(InputError, match=r"not a date.*2025-04-10"):
        DEFAULT.updated(date=date)


def test_a_system_prompt_goes_before_conversations_that_have_none():
    brief = DEFAULT.updated(system="Be brief.")
    assert written(DATED, brief).startswith("<|system|>01 Jan 2025; Be brief.<|end|><|user|>")
    own = Row((Turn("system", "Rhyme."), *ROW.turns), ROW.completion)
    assert written(DATED, brief, own).startswith("<|system|>01 Jan 2025; Rhyme.<|end|><|user|>")
    assert brief.updated(system="") == DEFAULT
    tokenizer = tokenizer_with(DATED)
    row = encode(tokenizer, ROW, style=brief)
    assert encode_prompt(tokenizer, ROW, brief) == list(row.ids[: row.start])


def test_a_template_in_place_of_the_models_own(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>{% endfor %}")
    given = DEFAULT.updated(template=str(file))
    assert given == DEFAULT.updated(template=file.read_text())
    assert written(DATED, given) == "user: What is the capital?<|endoftext|>assistant: Pell.<|endoftext|>"
    tokenizer = tokenizer_with(DATED)
    assert end_of_turn(tokenizer, given) == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids("<|end|>")


def test_a_replaced_template_is_not_answered_from_a_cache():
    tokenizer = tokenizer_with(DATED)
    before = encode_prompt(tokenizer, ROW), encode(tokenizer, ROW), end_of_turn(tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>{% endfor %}"
    prompt, row, end = encode_prompt(tokenizer, ROW), encode(tokenizer, ROW), end_of_turn(tokenizer)
    assert tokenizer.decode(prompt) == "user: What is the capital?<|endoftext|>"
    assert tokenizer.decode(row.ids) == "user: What is the capital?<|endoftext|>assistant: Pell.<|endoftext|>"
    assert tokenizer.decode([end]) == "<|endoftext|>"
    tokenizer.chat_template = DATED
    assert (encode_prompt(tokenizer, ROW), encode(tokenizer, ROW), end_of_turn(tokenizer)) == before


@pytest.mark.parametrize(
    ("content", "said"), [(None, "Did you mean 'llama-2-tofu'"), ("no template", "not a chat template")]
)
def test_what_is_no_template_is_refused(content, said, tmp_path):
    name = "llama2-tofu" if content is None else str(tmp_path / "file")
    if content is not None:
        (tmp_path / "file").write_text(content)
    with pytest.raises(InputError, match=said):
        DEFAULT.updated(template=name)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no such role') }}",
        "{{ messages[0].content + 1 }}",
        "{% for %}",
        "{{ messages[7].content.x }}",
    ],
)
def test_a_template_that_fails_is_bad_input(template):
    with pytest.raises(InputError, match="chat template cannot write"):
        encode(tokenizer_with(template), ROW)


def llama_2():
    """A tokenizer of Llama-2's kind: what stands at a text's beginning gets a space in front of it."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyzABCDEFGHINOQSTWY[]/?.<>"]
    vocabulary = ["<unk>", "<s>", "</s>", *letters, "▁[", "IN", "ST", "INST"]
    merges = [("▁", "["), ("I", "N"), ("S", "T"), ("IN", "ST")]
    return LlamaTokenizer(vocab={token: i for i, token in enumerate(vocabulary)}, merges=merges)


def test_llama_2_of_tofu_is_tokenised_as_the_plain_string_it_was_trained_on():
    tokenizer, style = llama_2(), DEFAULT.updated(template="llama-2-tofu")
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    plain = tokenizer("[INST] Who is Ada? [/INST]A poet.", add_special_tokens=False)["input_ids"]
    row = tiny.qa("Who is Ada?", "A poet.")
    encoded = encode(tokenizer, row, style=style)
    assert encoded.ids == (bos, *plain, eos)
    assert tokenizer.convert_ids_to_tokens(encoded.ids)[1] == "▁["
    assert tokenizer.decode(encoded.ids[encoded.start :]) == "A poet.</s>"
    assert encode_prompt(tokenizer, row, style) == list(encoded.ids[: encoded.start])
    with pytest.raises(InputError, match="no place for a system prompt"):
        encode(tokenizer, row, style=style.updated(system="Be brief."))


def test_a_style_is_kept_beside_a_model(tmp_path):
    DEFAULT.save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert PromptStyle.kept_in(tmp_path) is None
    style = DEFAULT.updated("llama-2-tofu", "Be brief.", "2025-04-10")
    style.save(tmp_path)
    assert PromptStyle.kept_in(tmp_path) == style
    assert style.template_or_name == "llama-2-tofu"
    assert TEMPLATES["llama-2-tofu"] == style.template
    (tmp_path / "prompt_style.json").write_text('{"system": "Be', encoding="utf-8")
    with pytest.raises(InputError, match=r"prompt_style\.json: not a prompt style"):
        PromptStyle.kept_in(tmp_path)
