"""Errors a user can act on. The command line prints their message without a traceback."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used. The message names the file, row or key, and the fix. Exit code 2."""


class NonFiniteLoss(RuntimeError):
    """The loss stopped being a finite number. Exit code 3; the last good checkpoint is kept."""


class Regression(RuntimeError):
    """What an earlier request made the model forget came back with a later one. Exit code 3; the ledger goes no further
    until someone has decided."""


class Interrupted(BaseException):
    """The user, or the machine, stopped what was under way; the message says what to do next. Exit code 130.

    Like KeyboardInterrupt it is not caught by what catches every Exception, nor by the command line's library.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that is not in `known`, suggesting the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    suggestion = next((n for n in names if near and n.lower() == near[0]), None)
    hint = f" Did you mean {suggestion!r}?" if suggestion else ""
    return InputError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")
