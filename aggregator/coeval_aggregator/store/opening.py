"""From a URL to a store."""

from pathlib import Path

from coeval_aggregator.store.database import Database
from coeval_aggregator.store.sqlite import SqliteDatabase
from coeval_aggregator.store.store import Store


def open_database(url: str) -> Database:
    """Connect to the database that a URL names.

    Args:
        url: as `StoreConfig.url`, but not `none`.

    Raises:
        StoreUnavailable: it does not answer.
        StoreUnusable: it is no database.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")))
    from coeval_aggregator.store.postgres import PostgresDatabase

    return PostgresDatabase(url)


def open_store(url: str) -> Store:
    """Open a store; its tables are made or brought up to date.

    Raises:
        StoreUnavailable: the database does not answer.
        StoreUnusable: it has a newer schema, or is no database.
    """
    database = open_database(url)
    try:
        return Store(database)
    except BaseException:
        database.close()
        raise
