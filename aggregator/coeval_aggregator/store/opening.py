"""From a URL to a store."""

from pathlib import Path

from coeval_aggregator.store.database import Database
from coeval_aggregator.store.errors import StoreUnusable
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.store.sqlite import SqliteDatabase
from coeval_aggregator.store.store import Store


def open_database(url: str, *, answers_within_s: float | None = None) -> Database:
    """Connect to the database that a URL names.

    Args:
        url: as `StoreConfig.url`, but not `none`.
        answers_within_s: a server that takes longer over a statement is given up; None: it is
            waited for. A file answers, or says by itself that it does not.

    Raises:
        StoreUnavailable: it does not answer.
        StoreUnusable: it is no database.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(Path(url.removeprefix("sqlite:///")))
    from coeval_aggregator.store.postgres import PostgresDatabase

    return PostgresDatabase(url, answers_within_s=answers_within_s)


def open_store(url: str, *, answers_within_s: float | None = None) -> Store:
    """Open a store; its tables are made or brought up to date.

    Args:
        url: as `open_database` takes it.
        answers_within_s: as `open_database` takes it.

    Raises:
        StoreUnavailable: the database does not answer.
        StoreUnusable: it has a newer schema, or is no database.
    """
    database = open_database(url, answers_within_s=answers_within_s)
    try:
        return Store(database)
    except BaseException:
        database.close()
        raise


def open_reader(url: str, *, answers_within_s: float | None = None) -> Reader:
    """Open a store that is there, to read.

    Args:
        url: as `open_database` takes it.
        answers_within_s: as `open_database` takes it.

    Raises:
        StoreUnavailable: the database does not answer.
        StoreUnusable: there is no store, or it has another schema than this version's.
    """
    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.is_file():
        raise StoreUnusable(f"store {url}: no such file; name it with --store")
    return Reader(open_store(url, answers_within_s=answers_within_s).database)
