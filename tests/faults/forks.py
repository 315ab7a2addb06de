"""Commands as a user gives them, in processes that are killed, or that find a full disk; see server.py."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code, or the negative number of the signal; what it said; what it changed."""

    code: int
    said: str
    changes: list[str]

    @property
    def killed(self) -> bool:
        return self.code == -9

    @property
    def lines(self) -> int:
        return len(self.said.splitlines())


class Forks:
    """The server's other end."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            env={**environment, "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._server.stdout.readline() == "ready\n"

    def run(self, words: Sequence[Any], under: Path | None = None, **fault: int | float) -> Done:
        """Run `expunge WORDS` to its end, whatever that is.

        Args:
            words: As on a command line.
            under: Where changes of files are seen.
            fault: `kill`, before this change, by SIGKILL or another `signal`; `full`,
                the disk from this change on; `seconds` to live; `limit`, of the
                bytes of a file.
        """
        request = {"words": list(map(str, words)), "under": under and str(under), "said": str(self._said), **fault}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        changes = self._said.with_name("said.changes").read_text().splitlines()
        return Done(code, self._said.read_text(errors="replace"), changes)

    def close(self) -> None:
        self._server.stdin.close()
        self._server.wait()
