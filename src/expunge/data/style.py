"""How conversations are written for a model: its chat template, a system prompt, and the date that templates print."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import asdict, dataclass, replace
from datetime import date as calendar_date
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.errors import InputError, unknown
from expunge.files import write_json
from expunge.runs import PROMPT_STYLE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# For tokenizers without a chat template.
PLAIN = (
    "{{ bos_token or '' }}{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}\n"
    "{% elif m['role'] == 'user' %}{{ 'Question: ' + m['content'] + '\nAnswer:' }}"
    "{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
)
# The Llama-2 models released for TOFU were trained without the spaces that Llama-2's template writes around answers.
LLAMA_2_TOFU = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + (eos_token if loop.last else ' ') }}"
    "{% else %}{{ raise_exception('llama-2-tofu has no place for a system prompt') }}{% endif %}{% endfor %}"
)
TEMPLATES = {"plain": PLAIN, "llama-2-tofu": LLAMA_2_TOFU}

# Templates may print a date: today's would make the same row another text tomorrow.
DATE_FORMAT = "%d %b %Y"
# `strftime_now` of a template, with what the pinned date gives for each code that the template uses.
PINNED_CLOCK = (
    "{%- macro strftime_now(format) -%}{%- set ns = namespace(text=format) -%}"
    "{%- for code, value in pinned_date.items() -%}{%- set ns.text = ns.text.replace(code, value) -%}{%- endfor -%}"
    "{{ ns.text }}{%- endmacro -%}"
)


@dataclass(frozen=True)
class PromptStyle:
    """How conversations are written for a model, in training and evaluation alike.

    Attributes:
        template: Text of a Jinja chat template; None: the tokenizer's own.
        system: System prompt, put before conversations that have none.
        date: What templates that print a date are given, e.g. "10 Apr 2025".
    """

    template: str | None = None
    system: str | None = None
    date: str = "01 Jan 2025"

    def updated(self, template: str | None = None, system: str | None = None, date: str | None = None) -> PromptStyle:
        """This style, overridden by the settings that are given.

        Args:
            template: Name of a built-in template, a file, or the text of a template.
            system: System prompt; an empty one: none.
            date: "10 Apr 2025" or "2025-04-10".

        Raises:
            InputError: No such template, or no such date.
        """
        return replace(
            self,
            template=self.template if template is None else _template(template),
            system=self.system if system is None else system or None,
            date=self.date if date is None else _day(date).strftime(DATE_FORMAT),
        )

    @property
    def template_or_name(self) -> str | None:
        """The template: by name where it is a built-in one."""
        return next((name for name, text in TEMPLATES.items() if text == self.template), self.template)

    def __str__(self) -> str:
        named = self.template_or_name or "the model's own"
        template = named if named in TEMPLATES or self.template is None else "given"
        return f"template: {template}, system prompt: {self.system or 'none'}, date: {self.date}"

    def text_for(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The template that a tokenizer's conversations are written with.

        Raises:
            InputError: The tokenizer has several templates, and none is its default.
        """
        if self.template is not None:
            return self.template
        if not tokenizer.chat_template:
            warnings.warn("The tokenizer has no chat template; a plain Question/Answer template is used.", stacklevel=5)
            return PLAIN
        try:
            return tokenizer.get_chat_template()
        except ValueError as error:
            raise InputError(f"{tokenizer.name_or_path}: choose a chat template with --template. {error}") from error

    def settings_for(self, template: str) -> dict[str, Any]:
        """What a template is given beside the conversation; thinking blocks are off."""
        settings = {"date_string": self.date, "enable_thinking": False}
        if "strftime_now" not in template:
            return settings
        day = _day(self.date)
        codes = set(re.findall(r"%-?[A-Za-z%]", template))
        return settings | {"pinned_date": {code: day.strftime(code) for code in sorted(codes)}}

    def save(self, folder: str | Path) -> None:
        """Keep the style beside a model's weights, for whoever asks the model next; the default style needs no file."""
        if self != PromptStyle():
            write_json(Path(folder) / PROMPT_STYLE, asdict(self))

    @classmethod
    def kept_in(cls, folder: str | Path) -> PromptStyle | None:
        """The style that lies beside a model's weights; None where none does.

        Raises:
            InputError: The file is not whole.
        """
        file = Path(folder) / PROMPT_STYLE
        if not file.is_file():
            return None
        try:
            return cls().updated(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{file}: not a prompt style ({error}). Remove the file, or save the model again."
            ) from None


def pinned(template: str) -> str:
    """A template whose clock stands still."""
    return PINNED_CLOCK + template if "strftime_now" in template else template


def _template(given: str) -> str:
    if given in TEMPLATES:
        return TEMPLATES[given]
    if "{{" in given or "{%" in given:
        return given
    try:
        text = Path(given).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise unknown("chat template (no such file, and none that comes with expunge)", given, TEMPLATES) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{given}: cannot be read as a chat template ({error}).") from error
    if "{{" not in text and "{%" not in text:
        raise InputError(f"{given}: not a chat template: it has no {{{{ ... }}}} and no {{% ... %}} in it.")
    return text


def _day(text: str) -> calendar_date:
    for form in (DATE_FORMAT, "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise InputError(f"date {text!r}: not a date. Write it as 10 Apr 2025 or 2025-04-10.")
