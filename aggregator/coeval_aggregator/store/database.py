"""What a store needs of a database: transactions, statements, and many rows at once.

Statements are written once, for both databases, with `?` for a value.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]


class Database(Protocol):
    """A connection to a database; used by one thread at a time.

    Every method raises StoreUnavailable where the database does not answer, is full or is locked.
    """

    name: str
    """Its URL without a password."""
    types: Mapping[str, str]
    """What `{serial}`, `{bytes}`, `{real}` and `{clustered}` are in this database's SQL."""
    row_overhead_bytes: int
    """What a block takes beyond its embeddings, indexes included."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing: committed durably at the end, rolled back on an error."""

    def lock_schema(self) -> None:
        """Within a transaction: let no other process change the tables."""

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        """Run a statement; the number of rows it changed."""

    def fetch(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """The rows of a query."""

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> int:
        """Add the rows whose keys are not there yet; how many those were."""

    def close(self) -> None:
        """End the connection; nothing is raised."""
