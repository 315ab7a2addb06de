"""Rows to token tensors: formats, chat template, masks, pairing, collation."""

from expunge.data.chat import Encoded, encode, encode_prompt, end_of_turn, windows
from expunge.data.load import configurations, load_records, load_rows, split_spec
from expunge.data.rows import Row, Turn, opened, parse_row
from expunge.data.style import PromptStyle

__all__ = [
    "Encoded",
    "PromptStyle",
    "Row",
    "Turn",
    "configurations",
    "encode",
    "encode_prompt",
    "end_of_turn",
    "load_records",
    "load_rows",
    "opened",
    "parse_row",
    "split_spec",
    "windows",
]
