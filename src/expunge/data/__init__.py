"""Rows to token tensors: formats, chat template, masks, pairing, collation."""

from expunge.data.chat import Encoded, encode, encode_all, encode_prompt, encode_prompts, end_of_turn, token_ids
from expunge.data.load import configurations, load_records, load_rows, split_spec
from expunge.data.rows import Row, Turn, opened, parse_row
from expunge.data.style import PromptStyle
from expunge.data.windows import fitting, windows

__all__ = [
    "Encoded",
    "PromptStyle",
    "Row",
    "Turn",
    "configurations",
    "encode",
    "encode_all",
    "encode_prompt",
    "encode_prompts",
    "end_of_turn",
    "fitting",
    "load_records",
    "load_rows",
    "opened",
    "parse_row",
    "split_spec",
    "token_ids",
    "windows",
]
