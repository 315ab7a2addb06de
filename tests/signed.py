"""Results written or changed by hand, with the digests that they carry."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from expunge.evaluation.results.seal import BY_KEY, WHOLE, column_digests, sealed


def write_signed(file: Path, content: Mapping[str, Any], table: pa.Table | None = None) -> None:
    """Write results.json as `Results.save` does; of a table given, its digests."""
    content = {key: value for key, value in content.items() if key not in (WHOLE, BY_KEY)}
    if table is not None:
        content["table"] = column_digests(table)
    file.write_text(json.dumps(sealed(content)))


def change(file: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change results in place, as if they had been measured so."""
    content = json.loads(file.read_text())
    edit(content)
    write_signed(file, content)
