"""The aggregator tells nodes the time: at once, past the queue, and only to who asks properly."""

import json
import time
from collections.abc import Iterable
from typing import Any

import pytest

from coeval.broker_address import BrokerAddress
from coeval.evidence_wire import decode_reply
from coeval.topics import Topics
from coeval_aggregator.connection import Connection
from coeval_aggregator.outgoing import Outgoing
from coeval_aggregator.receiving_client import Received
from coeval_aggregator.store.records import Ack

TOPICS = Topics(session="s")


class FakeClient:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, int]] = []
        self.acknowledged: list[int] = []

    def acknowledge(self, mids: Iterable[int]) -> None:
        self.acknowledged += mids

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        self.published.append((topic, payload, qos))

    def socket(self) -> None:
        """Not connected."""


class Bench:
    """A connection of an aggregator, to nowhere."""

    def __init__(self, session: str = "s") -> None:
        self.connection = Connection(
            address=BrokerAddress.parse("mqtt://127.0.0.1:1"),
            prefix="coeval",
            session=session,
            will=Outgoing(topic=TOPICS.state("aggregator"), payload=b"{}"),
        )
        self.client: Any = FakeClient()
        self.connection._client = self.client

    def hear(self, topic: str, payload: bytes, *, mid: int | None = None) -> None:
        """Let a message arrive, at QoS 1 where it has a number."""
        now_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        self.connection._receive(self.client, [Received(topic.encode(), payload, mid)], now_ns)


def test_a_question_is_answered_with_both_stamps_without_waiting_in_the_queue() -> None:
    bench = Bench()
    question = json.dumps({"from": "cam", "id": 5, "t1_ns": 123}).encode()
    bench.hear(TOPICS.time_request("aggregator"), question)
    bench.hear(TOPICS.time_request("aggregator"), question)
    assert [(topic, qos) for topic, _, qos in bench.client.published] == [
        (TOPICS.time_reply("cam"), 1)
    ] * 2
    first, second = (decode_reply(payload, where="x") for _, payload, _ in bench.client.published)
    assert (first.answerer, first.number, first.t1_ns) == ("aggregator", 5, 123)
    assert 0 < first.t2_ns <= first.t3_ns <= second.t2_ns <= second.t3_ns
    assert bench.connection.events.empty()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[" * 5000,
        b'{"from": "cam", "id": 1}',
        b'{"from": "#", "id": 1, "t1_ns": 1}',
        b'{"from": "\\ud800", "id": 1, "t1_ns": 1}',
        b'{"from": "cam", "id": true, "t1_ns": 1}',
        b'{"from": "cam", "id": 1, "t1_ns": 99999999999999999999}',
    ],
)
def test_what_is_no_question_is_not_answered(payload: bytes) -> None:
    bench = Bench()
    bench.hear(TOPICS.time_request("aggregator"), payload)
    assert bench.client.published == []


def test_everything_else_waits_for_the_loop() -> None:
    bench = Bench()
    bench.hear(TOPICS.evidence("cam"), b"{}")
    event = bench.connection.events.get_nowait()
    assert (event.topic, event.payload) == (TOPICS.evidence("cam"), b"{}")
    assert bench.client.published == []


def test_a_question_is_acknowledged_after_what_came_before_it() -> None:
    bench = Bench()
    bench.hear(TOPICS.block("cam", "mic"), b"x", mid=7)
    bench.hear(TOPICS.time_request("aggregator"), b"", mid=8)
    ack = bench.connection.events.get_nowait().ack
    assert ack == Ack(connection=0, number=0)
    assert bench.client.acknowledged == []
    bench.connection.acknowledge([ack])
    assert bench.client.acknowledged == [7, 8]


def test_a_question_in_any_session_is_answered_in_that_session() -> None:
    bench = Bench("+")
    bench.hear("coeval/walk/time/aggregator/request", b'{"from": "cam", "id": 5, "t1_ns": 1}')
    assert [topic for topic, _, _ in bench.client.published] == ["coeval/walk/time/cam/reply"]
