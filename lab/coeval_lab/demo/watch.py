"""What the demo hears on MQTT: the clocks the aggregator states, and every stream's embeddings.

It subscribes like any client; nothing is read from inside the aggregator.
"""

import json
import queue
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.errors import BadBlock, CoevalError
from coeval.hops import HOP_NS, Hops
from coeval.topics import Topics
from coeval.wire import decode_block

QUEUE_LENGTH = 10_000
KEPT_BLOCKS = 1200
"""Blocks kept of a stream: ten minutes."""
KEPT_STATEMENTS = 5000
CONNECTS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What the aggregator said of a node's clock, as on the topic `clock/{node}`."""

    heard_s: float
    """When, on this process's monotonic clock."""
    t_ref_ns: int
    """The instant of the timeline at which it holds."""
    status: str
    """`locked`, `unsure`, `unrelated`, or `reference`."""
    offset_s: float | None
    """node − reference; positive: the node is fast."""
    ci95_s: float | None
    """Half-width of the offset's 95% interval."""
    skew_ppm: float | None
    """Rate against the reference minus one."""
    skew_ci95_ppm: float | None
    """Half-width of the skew's 95% interval."""
    evidence: tuple[str, ...]
    """Kinds of evidence used."""


@dataclass(slots=True)
class Heard:
    """What was heard of one stream."""

    blocks: deque[Hops] = field(default_factory=lambda: deque(maxlen=KEPT_BLOCKS))
    """Its latest embeddings."""
    num_hops: int = 0
    """All rows so far."""

    @property
    def length_s(self) -> float:
        """How much material that is."""
        return self.num_hops * HOP_NS * 1e-9


class Watch:
    """Listens to a session from the side."""

    def __init__(self, address: BrokerAddress, topics: Topics) -> None:
        """Connect and subscribe.

        Raises:
            CoevalError: the broker does not answer.
        """
        self.statements: dict[str, deque[Statement]] = {}
        """What was said of each node's clock, in order."""
        self.streams: dict[tuple[str, str], Heard] = {}
        """What was heard of each stream, by node and stream."""
        self._topics = topics
        self._messages: queue.Queue[tuple[str, bytes]] = queue.Queue(QUEUE_LENGTH)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, _reason: Any, _p: Any) -> None:
            client.subscribe([(topics.clock("+"), 1), (topics.all_blocks, 0)])

        def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            # What overflows is not shown; the aggregator has a subscription of its own.
            with suppress(queue.Full):
                self._messages.put_nowait((message.topic, bytes(message.payload)))

        self._client.on_connect, self._client.on_message = on_connect, on_message
        try:
            self._client.connect(address.host, address.port)
        except OSError as exc:
            raise CoevalError(f"the broker at {address} does not answer: {exc}") from exc
        self._client.loop_start()
        until_s = time.monotonic() + CONNECTS_WITHIN_S
        while not self._client.is_connected():
            if time.monotonic() > until_s:
                raise CoevalError(f"the broker at {address} does not answer")
            time.sleep(0.01)

    def close(self) -> None:
        """Stop listening."""
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, *, for_s: float) -> None:
        """Take in what comes within the next while."""
        until_s = time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                topic, payload = self._messages.get(timeout=left_s)
            except queue.Empty:
                return
            self.handle(topic, payload, now_s=time.monotonic())

    def handle(self, topic: str, payload: bytes, *, now_s: float) -> None:
        """Take in one message; one that cannot be used is passed over."""
        address = self._topics.parse(topic)
        if address is None:
            return
        try:
            if address.kind == "clock":
                statement = parse_statement(json.loads(payload), now_s=now_s)
                kept = self.statements.setdefault(address.names[0], deque(maxlen=KEPT_STATEMENTS))
                kept.append(statement)
            elif address.kind == "bin":
                block = decode_block(payload, where=topic, reader="demo")
                heard = self.streams.setdefault((address.names[0], address.names[1]), Heard())
                heard.blocks.append(Hops(t0_node_ns=block.t0_node_ns, rows=block.embeddings))
                heard.num_hops += len(block.embeddings)
        except (BadBlock, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return

    def latest(self, node: str) -> Statement | None:
        """The last statement about a node's clock; None: none yet."""
        said = self.statements.get(node)
        return said[-1] if said else None


def parse_statement(value: dict[str, Any], *, now_s: float) -> Statement:
    """A clock topic's payload; what is unknown stays None."""

    def number(key: str) -> float | None:
        return None if value[key] is None else float(value[key])

    return Statement(
        heard_s=now_s,
        t_ref_ns=int(value["t_ref_ns"]),
        status=str(value["status"]),
        offset_s=number("offset_s"),
        ci95_s=number("ci95_s"),
        skew_ppm=number("skew_ppm"),
        skew_ci95_ppm=number("skew_ci95_ppm"),
        evidence=tuple(map(str, value["evidence"])),
    )
