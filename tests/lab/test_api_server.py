"""The API as the command starts it: over a socket, beside a real broker."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from coeval.errors import BadConfig
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.opening import open_reader, open_store
from coeval_aggregator.view import View
from coeval_lab.broker import find_mosquitto, start_broker

from ..aggregator.store.making import event, kept
from .staging import PATIENCE_S, wait_until
from .test_store_outages import aggregating, sending

pytestmark = pytest.mark.broker

ANY_PORT = ApiConfig(listen="127.0.0.1:0")


@contextmanager
def api_of(aggregator: Aggregator) -> Iterator[httpx.Client]:
    url = aggregator.config.store.url
    with (
        serving(ANY_PORT, lambda: aggregator.view, lambda: open_reader(url)) as address,
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
    ):
        yield client


def test_what_is_sent_is_counted_stored_and_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with (
        start_broker() as broker,
        aggregating(broker, url) as aggregator,
        sending(broker) as sender,
        api_of(aggregator) as client,
    ):
        sender.send(range(20))
        wait_until(lambda: client.get("/health").status_code == 200, "health")
        wait_until(lambda: "coeval_store_blocks_total 20.0" in client.get("/metrics").text, "20")
        (stream,) = client.get("/v1/sessions/s/streams").json()["streams"]
        assert stream["stream"] == "cam/mic"


def test_events_come_as_they_happen_and_are_resumed(tmp_path: Path) -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    url = f"sqlite:///{tmp_path}/store.db"
    with (
        start_broker() as broker,
        aggregating(broker, url) as aggregator,
        sending(broker) as sender,
        api_of(aggregator) as client,
    ):
        sender.send(range(1))
        wait_until(lambda: client.get("/v1/sessions/s/events").status_code == 200, "the session")
        with client.stream(
            "GET", "/v1/sessions/s/events", headers={"Accept": "text/event-stream"}
        ) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            sender.publish_rival()
            lines = response.iter_lines()
            told = next(line for line in lines if line.startswith("data: "))
        event = json.loads(told.removeprefix("data: "))
        assert event["event"] == "duplicate"
        again = {"Accept": "text/event-stream", "Last-Event-ID": str(event["number"] - 1)}
        with client.stream("GET", "/v1/sessions/s/events", headers=again) as response:
            told = next(line for line in response.iter_lines() if line.startswith("id: "))
        assert told == f"id: {event['number']}"


def test_a_port_that_is_taken_is_named() -> None:
    with serving(ANY_PORT, View, None) as address:
        taken = ApiConfig(listen=address.removeprefix("http://"))
        with (
            pytest.raises(BadConfig, match=r"api\.listen 127\.0\.0\.1:\d+: .*--api"),
            serving(taken, View, None),
        ):
            pass


def test_a_listener_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url)
    store.write([kept(event())])
    store.close()
    headers = {"Accept": "text/event-stream"}
    with ExitStack() as left_open:
        with serving(ANY_PORT, View, lambda: open_reader(url)) as address:
            client = left_open.enter_context(httpx.Client(base_url=address, timeout=PATIENCE_S))
            asked = client.stream("GET", "/v1/sessions/s/events", headers=headers)
            lines = left_open.enter_context(asked).iter_lines()
            assert any(line == "id: 1" for line in lines)
        assert all(line.startswith(("event: ", "data: ")) or not line for line in lines)
