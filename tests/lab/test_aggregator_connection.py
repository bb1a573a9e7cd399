"""The aggregator's connection to a real broker."""

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.topics import Topics
from coeval_aggregator.connection import Connection
from coeval_aggregator.outgoing import Outgoing
from coeval_lab.broker import RunningBroker, find_mosquitto, start_broker

from .staging import wait_until

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
        wait_until(lambda: connection.events.qsize() >= 21, "the blocks, and the subscription")
        connection.stop(None)
        events = [connection.events.get() for _ in range(connection.events.qsize())]
    blocks = [event.payload[0] for event in events if event.kind == "message"]
    assert blocks == list(range(20))
