"""Stores of both kinds, empty for every test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.store import Store
from coeval_lab.postgres import RunningPostgres, find_postgres, start_postgres

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[RunningPostgres]:
    """A server for all tests of a process."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    with start_postgres("fsync=off", "shared_buffers=16MB") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    import psycopg

    server: RunningPostgres = request.getfixturevalue("postgres")
    name = f"store{next(NUMBERS)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # a database would copy 7 MB
    return f"{server.url}?options=-csearch_path%3D{name}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = open_store(url)
    yield opened
    opened.close()
