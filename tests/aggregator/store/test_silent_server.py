"""A PostgreSQL server that stands still: who reads is told, and does not wait with it."""

from collections.abc import Iterator

import httpx
import pytest

from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.store.errors import StoreUnavailable
from coeval_aggregator.store.postgres import PostgresDatabase
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.store.store import Store
from coeval_aggregator.view import View
from coeval_lab.postgres import RunningPostgres

from .making import block, kept

SHORT_S = 0.2
"""Set while the server stands still: a server that runs has all the time it needs."""


@pytest.fixture
def database(postgres: RunningPostgres) -> Iterator[PostgresDatabase]:
    made = PostgresDatabase(postgres.url)
    yield made
    made.close()


def test_a_statement_that_is_not_answered_fails_and_says_what_to_do(
    postgres: RunningPostgres, database: PostgresDatabase
) -> None:
    database.answers_within_s = SHORT_S
    with (
        postgres.standing_still(),
        pytest.raises(StoreUnavailable, match=r"no answer within 0\.2 s; look at the server"),
    ):
        database.fetch("SELECT 1")


def test_a_statement_that_is_answered_leaves_the_connection_as_it_was(
    database: PostgresDatabase,
) -> None:
    database.answers_within_s = 300.0
    assert [database.fetch("SELECT 1"), database.fetch("SELECT 2")] == [[(1,)], [(2,)]]


def test_a_request_is_a_problem_while_the_server_stands_still_and_answered_afterwards(
    postgres: RunningPostgres,
) -> None:
    opened: list[PostgresDatabase] = []

    def open_reader() -> Reader:
        opened.append(PostgresDatabase(postgres.url))
        return Reader(opened[-1])

    first = Store(PostgresDatabase(postgres.url))
    first.write([kept(block(1))])
    first.database.close()
    with (
        serving(ApiConfig(listen="127.0.0.1:0"), View, open_reader) as address,
        httpx.Client(base_url=address, timeout=300.0) as client,
    ):
        assert client.get("/v1/sessions/s").status_code == 200
        opened[0].answers_within_s = SHORT_S
        with postgres.standing_still():
            on_what_was_open, on_a_new_connection = (client.get("/v1/sessions/s") for _ in "ab")
        for response in (on_what_was_open, on_a_new_connection):
            assert response.headers["content-type"] == "application/problem+json"
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert "look at the server" in response.json()["detail"]
        assert client.get("/v1/sessions/s").status_code == 200
