"""One self-contained HTML page about unlearning runs, and the same numbers as a terminal table."""

from expunge.report.load import load_comparison
from expunge.report.page import write_report
from expunge.report.terminal import terminal_table

__all__ = ["load_comparison", "terminal_table", "write_report"]
