"""MedForget's published layout (arXiv 2512.09867) as rows: questions, each with its image.

    FOLDER/{level}_level/{forget,retain}_set_all.parquet

A record is an image with questions: `metadata` is a JSON list of {"Question", "Answer"}, `hierarchy_metadata` a JSON
object with `institution_id`, `patient_id`, `study_id` and, where there is one, `section_name`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from expunge.data import Row, Turn, load_records
from expunge.data.pictures import COLUMN, read_picture
from expunge.errors import InputError
from expunge.worlds.hospital import LEVELS, Level

IDS = ("institution_id", "patient_id", "study_id", "section_name")
PARTS = ("forget", "retain")

Place = tuple[str, ...]


def read_published(folder: str | Path, level: Level) -> dict[str, list[Row]]:
    """Forget and retain rows of a level.

    Columns: `node`, the names from the institution down; `ID`, the image's; and `relation`: "forget"; of a retain row
    "sibling", if its node stands beside a forgotten one of the level, or below such a node, else "other".

    Raises:
        InputError: A file is missing, or a record is not as published; the message names it.
    """
    found: dict[str, list[Row]] = {}
    depth = 1 + LEVELS.index(level)
    parents: set[Place] = set()
    for part in PARTS:
        file = Path(folder) / f"{level}_level" / f"{part}_set_all.parquet"
        rows = list(_rows(file))
        if part == "forget":
            parents = {node[: depth - 1] for node, _ in rows}
        found[part] = [
            Row(row.turns, row.completion, {**row.columns, "relation": _relation(part, node, depth, parents)})
            for node, row in rows
        ]
    return found


def _relation(part: str, node: Place, depth: int, parents: set[Place]) -> str:
    if part == "forget":
        return "forget"
    return "sibling" if len(node) >= depth and node[: depth - 1] in parents else "other"


def _rows(file: Path) -> Iterator[tuple[Place, Row]]:
    """Every question of a file, with its place in the tree."""
    for i, record in enumerate(load_records(file)):
        where = f"{file}, row {i}"
        place = _decoded(record, "hierarchy_metadata", dict, where)
        if missing := [name for name in IDS[:3] if not place.get(name)]:
            raise InputError(f"{where}: column 'hierarchy_metadata' has no {missing[0]!r}.")
        node = tuple(str(place[name]) for name in IDS if place.get(name))
        image = record.get(COLUMN)
        pictures = () if image is None else (read_picture(image, f"{where}: column {COLUMN!r}", file.parent),)
        for asked in _decoded(record, "metadata", list, where):
            if not isinstance(asked, Mapping) or not (asked.get("Question") and asked.get("Answer")):
                raise InputError(f"{where}: column 'metadata' has an entry without 'Question' and 'Answer'.")
            columns = {"node": " / ".join(node), "ID": record.get("ID")}
            yield node, Row((Turn("user", str(asked["Question"]), pictures),), str(asked["Answer"]), columns)


def _decoded(record: Mapping[str, Any], column: str, kind: type, where: str) -> Any:
    """A column that holds JSON, as text or as Parquet's own lists and structs."""
    value = record.get(column)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise InputError(f"{where}: column {column!r} is not JSON ({error}).") from error
    if not isinstance(value, kind):
        raise InputError(f"{where}: column {column!r} must be a JSON {'list' if kind is list else 'object'}.")
    return value
