"""What a killed evaluation had measured already: kept beside the results until they are whole, then deleted.

The folder `<name>.parts` holds one Arrow stream per call and process, a record batch per batch of rows, flushed as
it is measured. A stream cut off by a kill is read up to its last whole batch. No text is stored: rows are named by
their position in the plan, answers by their token ids.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from expunge.evaluation.passes.processes import rank
from expunge.evaluation.passes.run import Measured
from expunge.evaluation.passes.score import TokenScores
from expunge.files import whole_file

_FLOATS = pa.list_(pa.float64())
SCHEMA = pa.schema(
    {
        "kind": pa.string(),
        "index": pa.int64(),
        "logprobs": _FLOATS,
        "greedy": pa.list_(pa.bool_()),
        "mean": _FLOATS,
        "std": _FLOATS,
        "ids": pa.list_(pa.int64()),
        "norm": pa.float64(),
    }
)


class Parts:
    """The parts of one evaluation. `key` is everything its numbers depend on; parts with another key are deleted."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self._stream: tuple[pa.OSFile, pa.RecordBatchStreamWriter] | None = None
        marker = folder / "key"
        if not marker.is_file() or marker.read_text(encoding="utf-8") != key:
            shutil.rmtree(folder, ignore_errors=True)

    def read(self) -> Measured:
        """What earlier calls measured, by position in the plan."""
        found = Measured()
        for file in sorted(self.folder.glob("*.arrows")):
            for row in _rows(file):
                if row["kind"] == "score":
                    found.scores[row["index"]] = TokenScores(
                        np.array(row["logprobs"], dtype=np.float64),
                        np.array(row["greedy"], dtype=bool),
                        *(None if row[c] is None else np.array(row[c], dtype=np.float64) for c in ("mean", "std")),
                    )
                elif row["kind"] == "answer":
                    found.answers[row["index"]] = row["ids"]
                else:
                    found.gradients[row["index"]] = row["norm"]
        return found

    def add(self, batch: Measured) -> None:
        """Store what a batch gave."""
        rows: list[dict] = [
            {"kind": "score", "index": i, "logprobs": s.logprobs, "greedy": s.greedy, "mean": s.mean, "std": s.std}
            for i, s in batch.scores.items()
        ]
        rows += [{"kind": "answer", "index": i, "ids": ids} for i, ids in batch.answers.items()]
        rows += [{"kind": "norm", "index": i, "norm": norm} for i, norm in batch.gradients.items()]
        self._add(rows)

    def close(self) -> None:
        """Close the stream of this call."""
        if self._stream is not None:
            sink, writer = self._stream
            writer.close()
            sink.close()
            self._stream = None

    def _add(self, rows: Iterable[dict]) -> None:
        if self._stream is None:
            with whole_file(self.folder / "key") as marker:  # nothing is left behind where nothing was measured
                marker.write_text(self.key, encoding="utf-8")
            number = len(list(self.folder.glob(f"{rank():04d}-*.arrows")))
            file = pa.OSFile(str(self.folder / f"{rank():04d}-{number:06d}.arrows"), "wb")
            self._stream = file, pa.ipc.new_stream(file, SCHEMA)
        sink, writer = self._stream
        columns = {name: [] for name in SCHEMA.names}
        for row in rows:
            for name, column in columns.items():
                column.append(row.get(name))
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
        sink.flush()


def _rows(file: Path) -> Iterable[dict]:
    """The rows of a stream, up to where it was cut off."""
    try:
        with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError):  # cut off in the middle of a batch, or before the first
        return
