"""Requests to forget, over time: a durable record, a state of the model after each, and whether anything comes back.

Names are imported when they are asked for: a report reads the records without PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.ledger.book import Ledger, add, init
    from expunge.ledger.check import verify
    from expunge.ledger.page import write_report
    from expunge.ledger.process import run, undo
    from expunge.ledger.redaction import purge, redact

_HOMES = {
    "Ledger": "book",
    "add": "book",
    "init": "book",
    "purge": "redaction",
    "redact": "redaction",
    "run": "process",
    "undo": "process",
    "verify": "check",
    "write_report": "page",
}
__all__ = ["Ledger", "add", "init", "purge", "redact", "run", "undo", "verify", "write_report"]


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is asked for."""
    if name in _HOMES:
        return getattr(import_module(f"expunge.ledger.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'expunge.ledger' has no attribute {name!r}")
