"""Custom objectives and suites: something named in a Python file, given as `file.py:NAME`."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from expunge.errors import InputError, unknown


def is_custom(text: str) -> bool:
    """Whether a text has the form `file.py:NAME`."""
    file, colon, name = text.rpartition(":")
    return bool(colon) and file.endswith(".py") and name.isidentifier()


def load_custom(text: str) -> Any:
    """Run a Python file and take what it names. Only for what a user typed or wrote into a recipe that is to be run.

    Raises:
        InputError: no such file or name, or the file cannot be run.
    """
    file, _, name = text.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise InputError(f"{text}: there is no file {file}.")
    module_name = f"expunge_custom_{custom_code(text)}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise InputError(f"{file}: cannot be read as Python.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise InputError(f"{file}: cannot be run ({type(error).__name__}: {error}).") from error
    module = sys.modules[module_name]
    if not hasattr(module, name):
        raise unknown(f"name in {file}", name, (n for n in vars(module) if not n.startswith("_")))
    return getattr(module, name)


def custom_code(text: str) -> str:
    """Digest of the file's content, for fingerprints."""
    return hashlib.blake2b(Path(text.rpartition(":")[0]).read_bytes(), digest_size=16).hexdigest()
