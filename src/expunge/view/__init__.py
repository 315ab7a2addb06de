"""A run in the browser, on this machine alone: its report, a chat of before and after, its rows, its siblings."""

from expunge.view.serve import view

__all__ = ["view"]
