"""Broker, aggregator and database together: what the broker has taken ends in the store, once."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NodeNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.errors import StoreUnavailable
from coeval_aggregator.store.opening import open_store
from coeval_lab.broker import Kind, RunningBroker, find_mosquitto, start_broker
from coeval_lab.postgres import find_postgres, start_postgres

from .staging import PATIENCE_S, at_work, wait_until
from .staging import kind as kind  # a fixture

pytestmark = pytest.mark.broker

ROWS = 10


def block(seq: int, *, boot_id: int = 1) -> bytes:
    return encode_block(
        Block(
            boot_id=boot_id,
            seq=seq,
            t0_node_ns=NodeNs(seq * ROWS * HOP_NS),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=np.full((ROWS, EMBEDDING_DIM), seq % 100, np.float32),
        )
    )


class Sender:
    """Publishes blocks, and hears what the aggregator says of itself."""

    def __init__(self, broker: RunningBroker) -> None:
        self.states: list[dict[str, Any]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(0)
        self._client.on_message = lambda _c, _u, m: self.states.append(json.loads(m.payload))
        self._client.connect(broker.host, broker.port)
        self._client.subscribe([("coeval/+/state/aggregator", 1), ("coeval/state/aggregator", 1)])
        self._client.loop_start()

    def send(self, seqs: range, *, session: str = "s", node: str = "cam") -> None:
        """Publish blocks; the broker has them when this returns."""
        topic = Topics(session=session).block(node, "mic")
        sent = [self._client.publish(topic, block(seq), qos=1) for seq in seqs]
        for info in sent:
            info.wait_for_publish(PATIENCE_S)

    def publish_rival(self) -> None:
        """Let a second device of the same id speak, and the first go on: an event tells of it."""
        topic = Topics(session="s").block("cam", "mic")
        for seq, boot_id in ((0, 2), (1, 1)):
            self._client.publish(topic, block(seq, boot_id=boot_id), qos=1)

    def degraded(self) -> list[str]:
        """Why the aggregator last said it is."""
        return self.states[-1].get("degraded", []) if self.states else []

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def sending(broker: RunningBroker) -> Iterator[Sender]:
    sender = Sender(broker)
    try:
        yield sender
    finally:
        sender.close()


@contextmanager
def aggregating(
    broker: RunningBroker, url: str, session: str = "s", **bounds: int
) -> Iterator[Aggregator]:
    store = StoreConfig(url=url, **bounds)
    config = AggregatorConfig(session=session, broker=broker.url, store=store)
    with at_work(config) as aggregator:
        yield aggregator


def stored(url: str, session: str = "s") -> list[int]:
    """Numbers of the blocks of a session's streams, in order."""
    store = open_store(url)
    rows = store.database.fetch(
        "SELECT seq FROM blocks JOIN runs ON run_id = runs.id "
        "JOIN sessions ON session_id = sessions.id WHERE name = ? ORDER BY node, seq",
        (session,),
    )
    store.close()
    return [row[0] for row in rows]


@pytest.fixture
def mosquitto() -> Iterator[RunningBroker]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; another broker may forget what is held back")
    with start_broker() as broker:
        yield broker


def test_every_block_is_stored_with_either_broker(kind: Kind, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with (
        start_broker(prefer=kind) as broker,
        aggregating(broker, url) as aggregator,
        sending(broker) as sender,
    ):
        sender.send(range(1000))
        assert aggregator.store is not None
        store = aggregator.store
        wait_until(lambda: store.state.num_blocks == 1000, "1000 blocks")
    assert stored(url) == list(range(1000))


def test_an_outage_of_the_database_is_told_and_loses_nothing(mosquitto: RunningBroker) -> None:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    with (
        start_postgres("fsync=off") as server,
        aggregating(mosquitto, server.url) as aggregator,
        sending(mosquitto) as sender,
    ):
        sender.send(range(300))
        server.stop()
        sender.send(range(300, 900))
        wait_until(lambda: bool(sender.degraded()), "the aggregator to say so")
        assert "postgresql://coeval@127.0.0.1" in sender.degraded()[0]
        server.start()
        wait_until(lambda: not sender.degraded(), "the aggregator to say that it is over")
        assert aggregator.store is not None
        store = aggregator.store
        wait_until(lambda: store.state.num_blocks == 900, "900 blocks")
        assert stored(server.url) == list(range(900))


def test_a_broker_is_asked_again_for_what_found_no_room(
    mosquitto: RunningBroker, tmp_path: Path
) -> None:
    folder = tmp_path / "away"
    url = f"sqlite:///{folder}/store.db"
    with aggregating(mosquitto, url, max_waiting=50) as aggregator:
        assert aggregator.store is not None
        store = aggregator.store
        with sending(mosquitto) as sender:
            sender.send(range(400))
            wait_until(lambda: aggregator.counts["held_back"] > 0, "a message without room")
            folder.mkdir()
            wait_until(lambda: store.state.num_blocks == 400, "400 blocks")
    assert stored(url) == list(range(400))


AGGREGATOR_PROCESS = """
import sys, threading
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig

store = StoreConfig(url=sys.argv[2])
Aggregator(AggregatorConfig(session="s", broker=sys.argv[1], store=store)).run(threading.Event())
"""


def test_a_killed_aggregator_loses_and_doubles_nothing(
    mosquitto: RunningBroker, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    command = [sys.executable, "-c", AGGREGATOR_PROCESS, mosquitto.url, url]
    with sending(mosquitto) as sender:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as child:
            wait_until(lambda: bool(sender.states), "the aggregator to be there")
            is_killed, num_sent = threading.Event(), 0

            def send_on() -> None:
                """Until it is killed, and on: some are under way whenever that is."""
                nonlocal num_sent
                while True:
                    is_last = is_killed.is_set()
                    sender.send(range(num_sent, num_sent + 500))
                    num_sent += 500
                    if is_last:
                        return

            sending_on = threading.Thread(target=send_on)
            sending_on.start()
            wait_until(lambda: Path(f"{tmp_path}/store.db").exists(), "the store")

            def num_stored() -> int:
                try:
                    return len(stored(url))
                except StoreUnavailable:  # two may not turn to its journal at once
                    return 0

            wait_until(lambda: num_stored() > 200, "some blocks", seen=num_stored)
            child.send_signal(signal.SIGKILL)
        is_killed.set()
        sending_on.join()
        assert len(stored(url)) < num_sent
        with aggregating(mosquitto, url):
            wait_until(
                lambda: len(stored(url)) == num_sent,
                f"all {num_sent} blocks",
                seen=lambda: len(stored(url)),
            )
    assert stored(url) == list(range(num_sent))


def test_sessions_are_found_and_served_apart(mosquitto: RunningBroker, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    names = ["jump", "run", "walk"]
    with sending(mosquitto) as sender:
        with aggregating(mosquitto, url, session="+"):
            for session in names:
                sender.send(range(50), session=session)
            wait_until(
                lambda: any(s.get("sessions") == names for s in sender.states), "their names"
            )
        wait_until(lambda: [s["state"] for s in sender.states[-4:]] == ["offline"] * 4, "goodbyes")
    assert [stored(url, session) for session in names] == [list(range(50))] * 3
