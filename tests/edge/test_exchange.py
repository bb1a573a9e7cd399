"""The asking side of a time exchange: what is asked, which answers count, and what is answered."""

import json
from itertools import count
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from coeval.broker_address import BrokerAddress
from coeval.evidence_wire import ExchangeSample, decode_evidence, decode_reply, decode_request
from coeval.network import Exchange
from coeval.topics import Topics
from coeval_edge.time_exchange import MOST_OUTSTANDING, TimeExchange

TOPICS = Topics(session="s")


class FakeClient:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, int]] = []

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        self.published.append((topic, payload, qos))

    def socket(self) -> None:
        """Not connected."""


class Bench:
    """A node `cam` whose clock goes on by 100 ns a reading, and nothing of a broker."""

    def __init__(self, *peers: str) -> None:
        readings = count(1000, 100)
        self.exchange = TimeExchange(
            address=BrokerAddress.parse("mqtt://127.0.0.1:1"),
            topics=TOPICS,
            node="cam",
            boot_id=7,
            peers=peers,
            clock_ns=lambda: next(readings),
        )
        self.on_message: Any = self.exchange._client.on_message
        self.client = FakeClient()
        self.exchange._client = self.client  # type: ignore[assignment]

    def ask(self, whom: str = "aggregator", number: int = 1) -> dict[str, Any]:
        """Ask; the question as JSON."""
        self.exchange._ask_once(whom, number)
        topic, payload, qos = self.client.published.pop()
        assert (topic, qos) == (TOPICS.time_request(whom), 1)
        question: dict[str, Any] = json.loads(payload)
        return question

    def hear(self, topic: str, payload: bytes) -> None:
        """Let a message arrive."""
        message = mqtt.MQTTMessage(topic=topic.encode())
        message.payload = payload
        self.on_message(self.client, None, message)

    def answer(self, question: dict[str, Any], **changes: object) -> None:
        """Let the answer of the aggregator arrive, or one that differs."""
        reply = {"from": "aggregator", "id": question["id"], "t1_ns": question["t1_ns"]}
        reply |= {"t2_ns": 5_000, "t3_ns": 5_010} | changes
        self.hear(TOPICS.time_reply("cam"), json.dumps(reply).encode())


def test_an_answer_becomes_evidence_on_the_nodes_topic() -> None:
    bench = Bench()
    bench.answer(bench.ask())
    ((topic, payload, qos),) = bench.client.published
    assert (topic, qos) == (TOPICS.evidence("cam"), 1)
    message = decode_evidence(payload, where="x")
    assert message.boot_id == 7
    exchange = Exchange(t1_ns=1000, t2_ns=5_000, t3_ns=5_010, t4_ns=1100)
    assert message.samples == (ExchangeSample(other="@server", exchange=exchange),)


def test_a_peers_answer_names_the_peer() -> None:
    bench = Bench("wrist")
    bench.answer(bench.ask("wrist"), **{"from": "wrist"})
    (sample,) = decode_evidence(bench.client.published[0][1], where="x").samples
    assert isinstance(sample, ExchangeSample)
    assert sample.other == "wrist"


@pytest.mark.parametrize(
    "changes",
    [{"from": "wrist"}, {"from": "@server"}, {"id": 2}, {"t1_ns": 999}],
    ids=["another answers", "a clock that is no node answers", "another number", "another t1"],
)
def test_an_answer_by_another_or_to_another_question_is_not_taken(
    changes: dict[str, object],
) -> None:
    bench = Bench("wrist")
    question = bench.ask()
    bench.answer(question, **changes)
    assert bench.client.published == []
    assert bench.exchange.counts["unasked"] == 1
    bench.answer(question)  # the true one still counts
    assert bench.exchange.counts["exchanged"] == 1


def test_an_answer_delivered_twice_counts_once() -> None:
    bench = Bench()
    question = bench.ask()
    bench.answer(question)
    bench.answer(question)
    assert bench.exchange.counts == {"asked": 1, "exchanged": 1, "unasked": 1}


def test_questions_without_answer_are_forgotten_and_memory_stays_bounded() -> None:
    bench = Bench()
    first = bench.ask(number=0)
    for number in range(1, MOST_OUTSTANDING + 1):
        bench.ask(number=number)
    assert len(bench.exchange._outstanding) == len(bench.exchange._whom) == MOST_OUTSTANDING
    bench.answer(first)
    assert bench.exchange.counts["unasked"] == 1


def test_with_many_peers_each_question_waits_for_its_answer() -> None:
    peers = [f"n{k}" for k in range(2 * MOST_OUTSTANDING)]
    bench = Bench(*peers)
    questions = [bench.ask(peer, number) for number, peer in enumerate(peers)]
    for peer, question in zip(peers, questions, strict=True):
        bench.answer(question, **{"from": peer})
    assert bench.exchange.counts["exchanged"] == len(peers)


def test_a_question_is_answered_with_its_own_stamps() -> None:
    bench = Bench()
    bench.hear(
        TOPICS.time_request("cam"), json.dumps({"from": "wrist", "id": 9, "t1_ns": -4}).encode()
    )
    ((topic, payload, qos),) = bench.client.published
    assert (topic, qos) == (TOPICS.time_reply("wrist"), 1)
    reply = decode_reply(payload, where="x")
    assert (reply.answerer, reply.number, reply.t1_ns) == ("cam", 9, -4)
    assert (reply.t2_ns, reply.t3_ns) == (1000, 1100)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"[" * 5000,
        b'{"from": "\\ud800", "id": 1, "t1_ns": 1}',
        b'{"from": "a/b", "id": 1, "t1_ns": 1}',
        b'{"from": "+", "id": 1, "t1_ns": 1, "t2_ns": 1, "t3_ns": 1}',
        b'{"from": "a", "id": 1e3, "t1_ns": 1, "t2_ns": 1, "t3_ns": 1}',
        b'{"from": "a", "id": 1, "t1_ns": 1' + b"0" * 6000 + b"}",
    ],
)
@pytest.mark.parametrize("what", ["request", "reply"])
def test_hostile_messages_are_counted_and_answer_nobody(payload: bytes, what: str) -> None:
    bench = Bench()
    topic = TOPICS.time_request("cam") if what == "request" else TOPICS.time_reply("cam")
    bench.hear(topic, payload)
    assert bench.client.published == []
    assert bench.exchange.counts == {"bad": 1}


def test_a_question_is_one_that_the_other_side_can_read() -> None:
    bench = Bench()
    question = bench.ask(number=3)
    request = decode_request(json.dumps(question).encode(), where="x")
    assert (request.asker, request.number, request.t1_ns) == ("cam", 3, 1000)
