"""From a URL to a store."""

from pathlib import Path

from coeval_aggregator.store.database import Database
from coeval_aggregator.store.errors import StoreUnusable
from coeval_aggregator.store.reading import Reader
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


def open_reader(url: str) -> Reader:
    """Open a store that is there, to read.

    Raises:
        StoreUnavailable: the database does not answer.
        StoreUnusable: there is no store, or it has another schema than this version's.
    """
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.is_file():
        raise StoreUnusable(f"store {url}: no such file; name it with --store")
    return Reader(open_store(url).database)
