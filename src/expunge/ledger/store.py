"""The records of a ledger: a table that is only ever added to, each record chained to the one before it.

Why it holds: SQLite commits a record whole or not at all; the journal is the classic one with synchronous=EXTRA, so
that a record that was reported is on the disk, and the ledger is one file that can be copied and read anywhere.
Triggers refuse changes made by mistake. The chain shows changes made on purpose: the digest of a record covers the one
before it. Who rewrites a record and all after it is found out by whoever noted a later digest (`expunge ledger verify
--head`).
"""

import errno
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.errors import InputError
from expunge.runs import LEDGER

SCHEMA = """
CREATE TABLE records (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, time TEXT NOT NULL, body TEXT NOT NULL, digest TEXT NOT NULL
) STRICT;
CREATE TRIGGER no_change BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'records are never changed'); END;
CREATE TRIGGER no_removal BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'records are never removed'); END;
"""
PATIENCE = 30  # seconds to wait for another process that is writing a record


@dataclass(frozen=True)
class Record:
    """One thing that happened.

    Attributes:
        number: counted from 1.
        kind: init, added, begun, processed, accepted, undone, redacted or pruned.
        time: UTC.
        body: what happened, by kind.
        digest: of all this, and of the digest before it.
    """

    number: int
    kind: str
    time: str
    body: dict[str, Any]
    digest: str


class Writer:
    """Appends records inside one transaction."""

    def __init__(self, connection: sqlite3.Connection, records: list[Record]) -> None:
        self._connection = connection
        self.records = records

    def append(self, kind: str, body: dict[str, Any]) -> Record:
        """Append a record; it is there for good when the transaction ends."""
        number, before = len(self.records) + 1, self.records[-1].digest if self.records else ""
        now, text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), json.dumps(body, sort_keys=True)
        record = Record(number, kind, now, json.loads(text), _digest(number, kind, now, text, before))
        row = (number, kind, now, text, record.digest)
        self._connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", row)
        self.records.append(record)
        return record


class Store:
    """The file with the records."""

    def __init__(self, folder: str | Path) -> None:
        """Open the records of a ledger.

        Raises:
            InputError: There is no ledger there.
        """
        self.path = Path(folder) / LEDGER
        if not self.path.is_file():
            raise InputError(f"{folder}: there is no ledger there. Make one with: expunge ledger init {folder} ...")

    @classmethod
    def create(cls, folder: Path, body: dict[str, Any]) -> "Store":
        """Make the file, with its first record."""
        with closing(sqlite3.connect(folder / LEDGER)) as connection, connection:
            connection.executescript(SCHEMA)
            Writer(connection, []).append("init", body)
        return cls(folder)

    def records(self) -> list[Record]:
        """Every record.

        Raises:
            InputError: A record was edited, removed or put in between; the message names it.
        """
        with self._open() as connection:
            return self._read(connection)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A transaction: what is appended in it appears together, or not at all. One process at a time has one."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Writer(connection, self._read(connection))
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        where = f"{self.path.absolute().as_uri()}?mode=rw"  # sqlite reads where it may not write
        try:
            with closing(sqlite3.connect(where, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                yield connection
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_FULL":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path)) from error
            raise InputError(f"{self.path}: the records cannot be read or written ({error}).") from error

    def _read(self, connection: sqlite3.Connection) -> list[Record]:
        records, before = list[Record](), ""
        for row in connection.execute("SELECT number, kind, time, body, digest FROM records ORDER BY number"):
            number, kind, when, text, digest = row
            if number != len(records) + 1:
                raise InputError(f"{self.path}: record {len(records) + 1} is missing.")
            if _digest(number, kind, when, text, before) != digest:
                raise InputError(
                    f"{self.path}: record {number} ({kind}, {when}) is not what was written: it was edited, or the "
                    "record before it was replaced."
                )
            records.append(Record(number, kind, when, json.loads(text), digest))
            before = digest
        if not records or records[0].kind != "init":
            raise InputError(f"{self.path}: the first record is missing.")
        return records


def _digest(number: int, kind: str, when: str, body: str, before: str) -> str:
    return hashlib.blake2b(json.dumps([number, kind, when, body, before]).encode(), digest_size=16).hexdigest()
