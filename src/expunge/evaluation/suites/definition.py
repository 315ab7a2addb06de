"""All that a suite is, to the code of its metrics' functions: what its fingerprint is made of."""

import hashlib
import sys
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import expunge
from expunge.evaluation.suites.suite import Suite

HOME = Path(expunge.__file__).parent
INSTALLED = tuple({str(HOME), sys.prefix, sys.base_prefix, sys.exec_prefix})  # versions tell these apart


def definition(suite: Suite) -> Any:
    """Every field of a suite, its sets and metrics, as plain values.

    A function is told by its place in its file, the file's content, and what it closes over; and by the functions and
    modules of the user's that it names. expunge's own source is fingerprinted as a whole, libraries by their versions.
    """
    return _plain(suite, ())


def _plain(value: Any, inside: tuple[Any, ...]) -> Any:
    """A value without its type's details; `inside` are the functions being described, which may name each other."""
    if is_dataclass(value) and not isinstance(value, type):
        return [
            type(value).__name__,
            {field.name: _plain(getattr(value, field.name), inside) for field in fields(value)},
        ]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, inside) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(_plain(item, inside)) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item, inside) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, CodeType):
        return [value.co_code.hex(), value.co_names, _plain(value.co_consts, inside)]
    if isinstance(value, partial):
        return [_plain(part, inside) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, FunctionType):
        return value.__qualname__ if value in inside else _function(value, (*inside, value))
    if isinstance(value, ModuleType):
        return [value.__name__, _file(value.__file__)]
    if callable(value) and not isinstance(value, type) and hasattr(value, "__dict__"):
        return [_plain(type(value).__call__, inside), _plain(vars(value), inside)]
    return value


def _function(function: FunctionType, inside: tuple[Any, ...]) -> Any:
    code = function.__code__
    file = _file(code.co_filename)
    typed_in = file is None and not code.co_filename.startswith(INSTALLED)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    named = {name: function.__globals__.get(name) for name in _names(code)}
    own = {name: _plain(value, inside) for name, value in named.items() if _is_own(value)}
    place = [function.__module__, function.__qualname__, code.co_firstlineno, file, code if typed_in else None]
    return [_plain(part, inside) for part in (*place, function.__defaults__, function.__kwdefaults__, cells, own)]


def _names(code: CodeType) -> Collection[str]:
    """What a function takes from outside it, the functions in it included."""
    nested = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return sorted({*code.co_names, *(name for names in nested for name in names)})


def _is_own(value: Any) -> bool:
    """Whether a value is a function or a module of the user's."""
    if isinstance(value, FunctionType):
        return not value.__code__.co_filename.startswith(INSTALLED)
    return isinstance(value, ModuleType) and not (value.__file__ or sys.prefix).startswith(INSTALLED)


def _file(name: str | None) -> str | None:
    """Digest of a file of the user's; None for another's, and where there is none: a function that was typed in."""
    if name is None or name.startswith(INSTALLED) or not Path(name).is_file():
        return None
    return hashlib.blake2b(Path(name).read_bytes(), digest_size=16).hexdigest()
