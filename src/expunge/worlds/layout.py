"""Worlds as folders in a published layout: configurations with splits, declared in README.md as on the Hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from expunge.files import whole_folder, write_jsonl

Record = dict[str, Any]


def write_layout(folder: Path, rows: Mapping[str, Sequence[Record]]) -> None:
    """Write rows by `configuration/split` as a folder whose README.md declares them, as data sets of the Hub do.

    Args:
        folder: To be made; one that is there is left as it is.
        rows: To write.
    """
    configurations: dict[str, list[dict[str, str]]] = {}
    with whole_folder(folder) as part:
        for name, records in rows.items():
            configuration, _, split = name.partition("/")
            (part / configuration).mkdir(exist_ok=True)
            write_jsonl(part / f"{name}.jsonl", records)
            configurations.setdefault(configuration, []).append({"split": split, "path": f"{name}.jsonl"})
        declared = [{"config_name": name, "data_files": files} for name, files in configurations.items()]
        front = yaml.safe_dump({"configs": declared}, sort_keys=False)
        (part / "README.md").write_text(f"---\n{front}---\n", encoding="utf-8")
