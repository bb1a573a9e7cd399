"""A node and an aggregator as two processes that exchange time over a real broker."""

import math
import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.evidence import Evidence
from coeval.evidence_wire import ExchangeSample, decode_evidence
from coeval.network import Exchange, ExchangeFilter
from coeval.topics import Topics
from coeval_edge.time_exchange import TimeExchange, raw_monotonic_ns
from coeval_lab.broker import Kind, RunningBroker, find_mosquitto, start_broker

from .staging import wait_until

TOPICS = Topics(session="s")
NUM_EXCHANGES = 60
NUM_QUICK, NUM_SAMPLES = 40, 20
"""A loaded machine makes exchanges slow, but not all; a delayed acknowledgement does."""
WITHIN_S = 300.0
AHEAD_NS = 3_217_000_000
DELAYED_ACK_NS = 40_000_000
"""What a delayed acknowledgement costs on Linux."""

AGGREGATOR_PROCESS = """
import sys, threading
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
config = AggregatorConfig(session="s", broker=sys.argv[1], store=StoreConfig(url="none"))
Aggregator(config).run(stop)
"""


@contextmanager
def aggregating(broker: RunningBroker) -> Iterator[None]:
    """An aggregator in a process of its own; it ends with its standard input."""
    command = [sys.executable, "-c", AGGREGATOR_PROCESS, broker.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL):
        yield


@contextmanager
def overhearing(broker: RunningBroker) -> "Iterator[queue.Queue[Exchange]]":
    """The exchanges that the node publishes."""
    heard: queue.Queue[Exchange] = queue.Queue()

    def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        for sample in decode_evidence(bytes(message.payload), where=message.topic).samples:
            if isinstance(sample, ExchangeSample):
                heard.put(sample.exchange)

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_connect = lambda c, *_: c.subscribe(TOPICS.evidence("cam"), 1)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
def test_an_exchange_waits_for_no_acknowledgement_and_errs_as_stated(kind: Kind) -> None:
    """Both read one clock, the node's 3.217 s ahead: the error of each sample is known."""
    if kind == "mosquitto" and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    with start_broker(prefer=kind) as broker, aggregating(broker), overhearing(broker) as heard:
        exchange = TimeExchange(
            address=BrokerAddress.parse(broker.url),
            topics=TOPICS,
            node="cam",
            boot_id=1,
            every_s=0.03,
            clock_ns=lambda: raw_monotonic_ns() + AHEAD_NS,
        )
        filter_ = ExchangeFilter(node="cam", other="@server")
        delays_ns: list[int] = []
        samples: list[Evidence] = []

        def is_enough() -> bool:
            each = heard.get(timeout=WITHIN_S)
            delays_ns.append(each.delay_ns)
            if (sample := filter_.push(each)) is not None:
                samples.append(sample)
            num_quick = sum(delay_ns < DELAYED_ACK_NS / 2 for delay_ns in delays_ns)
            has_enough = num_quick >= NUM_QUICK and len(samples) >= NUM_SAMPLES
            return has_enough and len(delays_ns) >= NUM_EXCHANGES

        exchange.start()
        try:
            wait_until(
                is_enough,
                "exchanges that wait for no acknowledgement",
                seen=lambda: (sorted(delays_ns), filter_.counts),
            )
        finally:
            exchange.close()
    # Half the delay bounds the error, and three times the spread is more than that, always.
    for sample in samples:
        spread_ns = math.hypot(sample.sigma_ns, sample.bias_sigma_ns)
        assert abs(sample.offset_ns - AHEAD_NS) <= 3 * spread_ns
    best = min(samples, key=lambda sample: sample.sigma_ns)
    assert abs(best.offset_ns - AHEAD_NS) <= 2 * math.hypot(best.sigma_ns, best.bias_sigma_ns)
