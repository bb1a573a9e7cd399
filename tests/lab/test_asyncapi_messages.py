"""What is really said over a broker is what the AsyncAPI document says."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coeval.broker_address import BrokerAddress
from coeval.mqtt_messages import MESSAGES, Message, Schema
from coeval.topics import Topics
from coeval.wire import decode_block
from coeval_edge.time_exchange import TimeExchange
from coeval_lab.broker import start_broker

from .staging import wait_until
from .test_end_to_end import Running, aggregating, make_node, watching
from .test_end_to_end import recording as recording  # a fixture
from .test_store_outages import sending

pytestmark = pytest.mark.broker

SAID = {
    "node_state",
    "aggregator_state",
    "descriptor",
    "block",
    "clock",
    "tick",
    "evidence",
    "time_request",
    "time_reply",
    "event_duplicate",
    "event_unsynchronised",
    "unsynchronised",
}
"""What the session below has to bring about."""


def message_of(topic: str) -> Message:
    """The one whose topic this is; a name in full goes before one in braces."""
    found = [
        message
        for message in MESSAGES
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(message.topic)), topic)
    ]
    assert found, f"the document lacks {topic}"
    return min(found, key=lambda message: message.topic.count("{"))


def closed(schema: Any) -> Any:
    """The schema without room for keys that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner: Schema = {key: closed(value) for key, value in schema.items()}
    is_record = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    return inner | ({"additionalProperties": False} if is_record else {})


@pytest.fixture(scope="module")
def messages(recording: Path) -> Iterator[list[tuple[str, bytes]]]:
    """All that is said while two nodes are put on one timeline and a third device intrudes."""
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker())
        watcher = stack.enter_context(watching(broker))
        stack.enter_context(aggregating(broker, reference="left", max_offset_s=20.0))
        exchange = TimeExchange(
            address=BrokerAddress.parse(broker.url),
            topics=Topics(session="s"),
            node="left",
            boot_id=1,
            every_s=0.05,
        )
        stack.callback(exchange.close)
        nodes = [
            Running(make_node(broker, recording, node, speed=40.0, loop=True, offset_s=offset_s))
            for node, offset_s in (("left", 0.0), ("right", 3.2), ("right", 500.0))
        ]
        for node in nodes:
            stack.callback(node.stop.set)
        wait_until(lambda: any(c["status"] == "locked" for c in watcher.said("clock")), "a clock")
        exchange.start()
        # The nodes above may be synchronised before anybody looks; this one never is.
        stack.enter_context(sending(broker)).send(range(1))

        def said() -> set[str]:
            return {message_of(topic).name for topic, _ in list(watcher.messages)}

        wait_until(lambda: said() >= SAID, "all", seen=lambda: f"all but {SAID - said()}")
        for node in nodes:
            node.stop.set()
            node.join()
        yield list(watcher.messages)


def test_what_is_said_over_a_real_broker_fits_the_document(
    messages: list[tuple[str, bytes]],
) -> None:
    validators = {m.name: jsonschema.Draft7Validator(closed(m.payload or {})) for m in MESSAGES}
    for topic, payload in messages:
        message = message_of(topic)
        if message.name == "block":
            decode_block(payload, where=topic)
        elif payload:
            errors = [e.message for e in validators[message.name].iter_errors(json.loads(payload))]
            assert not errors, f"{topic}: {errors}"


def test_a_message_that_the_document_does_not_describe_is_found(
    messages: list[tuple[str, bytes]],
) -> None:
    clock = next(json.loads(p) for t, p in messages if message_of(t).name == "clock")
    schema = closed(next(m.payload for m in MESSAGES if m.name == "clock"))
    validator = jsonschema.Draft7Validator(schema)
    assert validator.is_valid(clock)
    assert not validator.is_valid(clock | {"drift": 1})
    assert not validator.is_valid({key: clock[key] for key in clock if key != "offset_s"})
