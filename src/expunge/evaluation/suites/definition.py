"""The fingerprint of a suite: of all that it is, to the code of its metrics' functions."""

import hashlib
import json
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


def fingerprint_suite(suite: Suite) -> str:
    """Hash every field of a suite, its sets and its metrics.

    A function is identified by its name and what it closes over; a custom one also by its place in its file, by the
    file's content, and by the custom functions and modules that it names. expunge's own source is fingerprinted
    as a whole, libraries by their versions.
    """
    text = json.dumps(_plain(suite, ()), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _plain(value: Any, inside: tuple[Any, ...]) -> Any:
    """A value in terms of JSON; `inside` are the functions being described, which may name each other."""
    if is_dataclass(value) and not isinstance(value, type):
        kind, named = type(value), {field.name: getattr(value, field.name) for field in fields(value)}
        return [kind.__qualname__, _plain(sys.modules.get(kind.__module__), inside), _plain(named, inside)]
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
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    told: list[Any] = [function.__qualname__, function.__defaults__, function.__kwdefaults__, cells]
    if code.co_filename.startswith(INSTALLED):
        told += [function.__module__, code.co_names]  # lambdas share a name
    else:
        file = _file(code.co_filename)
        named = {name: function.__globals__.get(name) for name in _names(code)}
        own = {name: value for name, value in named.items() if _is_own(value)}
        told += [own, file, code if file is None else code.co_firstlineno]
    return _plain(told, inside)


def _names(code: CodeType) -> Collection[str]:
    """What a function takes from outside it, the functions in it included."""
    nested = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return sorted({*code.co_names, *(name for names in nested for name in names)})


def _is_own(value: Any) -> bool:
    """Whether a value is a custom function or module."""
    if isinstance(value, FunctionType):
        return not value.__code__.co_filename.startswith(INSTALLED)
    return isinstance(value, ModuleType) and not (value.__file__ or sys.prefix).startswith(INSTALLED)


def _file(name: str | None) -> str | None:
    """Digest of a custom file; None for a library's, and where there is none: a function that was typed in."""
    if name is None or name.startswith(INSTALLED) or not Path(name).is_file():
        return None
    return hashlib.blake2b(Path(name).read_bytes(), digest_size=16).hexdigest()
