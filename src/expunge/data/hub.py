"""Data sets of the Hub, without a trace: what must be forgotten is not left behind in a cache folder.

`datasets` and the client below it keep what they download in caches that are settings of the whole process. So another
process loads the rows, with all of its caches in a temporary folder; models of this process stay in the user's cache.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from expunge.data.formats import read_file
from expunge.errors import InputError

WORKER = Path(__file__).with_name("hub_worker.py")
# Every folder that the client writes to by itself. HF_HOME stays: the user's token lies there.
CACHES = ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HF_MODULES_CACHE", "TMPDIR")


def hub_records(source: str, configuration: str | None, split: str) -> list[dict[str, Any]]:
    """The rows of a data set on the Hub.

    Raises:
        InputError: It is not there, or cannot be reached.
    """
    name = ":".join(part for part in (source, configuration, split) if part)
    with TemporaryDirectory(prefix="expunge-") as folder:
        out = Path(folder) / "rows.parquet"
        _ask(name, folder, {"source": source, "configuration": configuration, "split": split, "out": str(out)})
        return read_file(out, name)


def hub_configurations(source: str) -> list[str]:
    """The names of a data set's configurations.

    Raises:
        InputError: It is not there, or cannot be reached.
    """
    with TemporaryDirectory(prefix="expunge-") as folder:
        return sorted(_ask(source, folder, {"source": source})["names"])


def _ask(name: str, folder: str, request: dict[str, Any]) -> dict[str, Any]:
    caches = {variable: str(Path(folder) / variable.lower()) for variable in CACHES}
    Path(caches["TMPDIR"]).mkdir()
    quiet = (
        {} if sys.stderr.isatty() else {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    )
    done = subprocess.run(
        # -P: the folder of the script, which is full of modules of ours, is no place to import from.
        [sys.executable, "-P", str(WORKER), json.dumps(request)],
        env={**os.environ, **caches, **quiet},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    answer = json.loads(done.stdout) if done.returncode == 0 else {"error": f"the client ended with {done.returncode}"}
    if "error" in answer:
        raise InputError(f"{name}: neither a local file or folder nor readable from the Hub ({answer['error']}).")
    return answer
