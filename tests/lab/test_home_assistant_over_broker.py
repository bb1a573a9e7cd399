"""Discovery over a real broker: devices appear, and go when it is switched off."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.topics import Topics
from coeval_aggregator.home_assistant import device_topic
from coeval_lab.broker import Kind, RunningBroker, start_broker

from .staging import PATIENCE_S, wait_until
from .staging import kind as kind  # fixtures
from .test_end_to_end import Running, aggregating, make_node
from .test_end_to_end import recording as recording

pytestmark = pytest.mark.broker

TOPIC = device_topic(Topics(session="s"), "left")
FOREIGN = "homeassistant/device/lamp/config"


@contextmanager
def home(broker: RunningBroker) -> "Iterator[dict[str, bytes]]":
    """What Home Assistant has of every device."""
    devices: dict[str, bytes] = {}
    is_ready = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, m: devices.__setitem__(m.topic, m.payload)
    client.on_subscribe = lambda *_: is_ready.set()
    client.connect(broker.host, broker.port)
    client.subscribe("homeassistant/device/+/config", 1)
    client.loop_start()
    try:
        assert is_ready.wait(PATIENCE_S)
        client.publish(FOREIGN, b'{"origin": {"name": "another"}, "components": {}}', 1, True)
        yield devices
    finally:
        client.disconnect()
        client.loop_stop()


def test_devices_are_announced_and_removed_when_switched_off(kind: Kind, recording: Path) -> None:
    with start_broker(prefer=kind) as broker:
        with home(broker) as devices:
            with aggregating(broker, reference="left", home_assistant=True):
                node = Running(make_node(broker, recording, "left"))
                wait_until(lambda: bool(devices.get(TOPIC)), "the device")
                node.join()
            assert json.loads(devices[TOPIC])["components"]["offset"]["unit_of_measurement"] == "s"
        with home(broker) as devices:
            wait_until(lambda: len(devices) == 3, "two devices of ours and another's")
            with aggregating(broker):
                wait_until(
                    lambda: devices[TOPIC] == b"", "the device to go", seen=lambda: devices.keys()
                )
                wait_until(lambda: list(devices.values()).count(b"") == 2, "both to go")
        with home(broker) as devices:
            wait_until(lambda: FOREIGN in devices, "what is retained")
            assert devices.get(TOPIC, b"") == b""
