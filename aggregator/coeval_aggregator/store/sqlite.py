"""A store in one file: SQLite with a write-ahead log.

`synchronous = FULL`: a commit is on the disk when it returns, so that what is acknowledged
survives a power cut too. Measured 2026-11-25 on two shared cores, blocks of 320 bytes: 5, 11 and 61
thousand a second in batches of 20, 100 and 1000.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from coeval_aggregator.store.database import Row
from coeval_aggregator.store.errors import StoreUnavailable, StoreUnusable

BUSY_S = 10.0
"""How long another process that writes is waited for."""


class SqliteDatabase:
    """A file, opened for reading and writing, or for reading alone."""

    types: Mapping[str, str] = {
        "serial": "INTEGER PRIMARY KEY",
        "bytes": "BLOB",
        "real": "REAL",
        "clustered": "WITHOUT ROWID",
    }
    row_overhead_bytes = 104
    """Measured: 424 bytes a block of 320."""

    def __init__(self, path: Path) -> None:
        """Open the file; it is made where there is none.

        Raises:
            StoreUnavailable: it cannot be opened.
            StoreUnusable: it is no SQLite file.
        """
        self.name = f"sqlite:///{path}"
        try:
            self._connection = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as exc:
            raise StoreUnavailable(f"store {self.name}: {exc}") from exc
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self.fetch(f"PRAGMA {pragma}")
        except (StoreUnavailable, StoreUnusable):
            self._connection.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    def lock_schema(self) -> None:
        """A transaction is alone already."""

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows it changed."""
        with self._named():
            return self._connection.execute(statement, values).rowcount

    def fetch(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """The rows of a query."""
        with self._named():
            return self._connection.execute(statement, values).fetchall()

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """Add the rows whose keys are not there yet."""
        marks = ", ".join("?" * len(columns))
        statement = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        )
        with self._named():
            return self._connection.executemany(statement, rows).rowcount

    def close(self) -> None:
        """End the connection."""
        try:
            self._connection.close()
        except sqlite3.Error:  # a full disk under the log: there is nothing left to do
            return

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of the file as ours; those of a statement are defects and stay what they are."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_ERROR:
                raise
            is_full = exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL
            advice = "; free space, and it goes on by itself" if is_full else ""
            raise StoreUnavailable(f"store {self.name}: {exc}{advice}") from exc
        except sqlite3.DatabaseError as exc:
            if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
            raise StoreUnusable(
                f"store {self.name}: {exc}; restore it from a copy, or name another file"
            ) from exc
