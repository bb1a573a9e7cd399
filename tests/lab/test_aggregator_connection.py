"""The aggregator's connection to a real broker."""

import threading
from pathlib import Path

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.topics import Topics
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.connection import Connection
from coeval_aggregator.outgoing import Outgoing
from coeval_aggregator.receipts import Receipts
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.records import Ack
from coeval_lab.broker import Kind, RunningBroker, find_mosquitto, start_broker

from .staging import at_work, wait_until
from .staging import kind as kind  # a fixture
from .test_store_outages import sending

pytestmark = pytest.mark.broker


def publish(broker: RunningBroker, *, num: int) -> None:
    """The broker has so many blocks when this returns."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()
    topic = Topics(session="s").block("cam", "mic")
    for info in [client.publish(topic, bytes([k]), qos=1) for k in range(num)]:
        info.wait_for_publish(30.0)
    client.disconnect()
    client.loop_stop()


def test_what_waits_and_comes_again_waits_once() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; another broker may forget what is held back")
    with start_broker() as broker:
        connection = Connection(
            address=BrokerAddress.parse(broker.url),
            prefix="coeval",
            session="s",
            will=Outgoing(topic="coeval/s/state/aggregator", payload=b"{}", retain=True),
        )
        connection.start()
        wait_until(lambda: connection.events.qsize() == 1, "the subscription")
        assert connection.events.get().kind == "subscribed"
        publish(broker, num=20)
        wait_until(lambda: connection.events.qsize() == 20, "20 blocks")
        connection.renew()
        wait_until(lambda: connection.events.qsize() >= 22, "the blocks, and what else is told")
        connection.stop(None)
        events = [connection.events.get() for _ in range(connection.events.qsize())]
    blocks = [event.payload[0] for event in events if event.kind == "message"]
    assert blocks == list(range(20))


def test_a_defect_that_ends_the_receiving_thread_is_told_and_overcome(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_ill, note = threading.Event(), Receipts.note

    def note_or_fail(receipts: Receipts, mid: int) -> Ack:
        if is_ill.is_set():
            raise RuntimeError("a defect")
        return note(receipts, mid)

    monkeypatch.setattr(Receipts, "note", note_or_fail)
    store = StoreConfig(url=f"sqlite:///{tmp_path}/store.db")
    with (
        start_broker(prefer=kind) as broker,
        at_work(AggregatorConfig(session="s", broker=broker.url, store=store)) as aggregator,
        serving(ApiConfig(listen="127.0.0.1:0"), lambda: aggregator.view, None) as api,
        sending(broker) as sender,
    ):

        def problems() -> list[str]:
            told: list[str] = httpx.get(f"{api}/health", timeout=300.0).json()["problems"]
            return told

        is_ill.set()  # only now: what the broker has retained may come with the subscription
        sender.send(range(1))
        wait_until(lambda: "receiving: failed" in str(problems()), "a problem", seen=problems)
        assert "RuntimeError: a defect" in str(problems())
        assert "note_or_fail" in caplog.text  # the traceback
        is_ill.clear()
        writer = aggregator.store
        assert writer is not None

        def is_stored() -> bool:
            sender.send(range(1))  # a broker may forget what was not acknowledged
            return writer.state.num_blocks == 1

        wait_until(is_stored, "the block")
        wait_until(lambda: not problems(), "health", seen=problems)
