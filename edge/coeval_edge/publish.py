"""From the spool to the broker, at least once: QoS 1, MQTT 3.1.1.

One thread owns the connection. What the client library calls back only puts events into a
queue. A lost connection is thrown away with its client; the next one begins with the spool's
oldest unacknowledged block, so that the library's own queue decides nothing.

A broker's acknowledgement does not say that an aggregator has the block: a broker that restarts
may take blocks along. So the last acknowledged blocks are kept in memory and sent again on a new
connection, and when an aggregator joins; it drops those it has.
"""

import json
import logging
import os
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval.topics import AGGREGATOR, Topics
from coeval_edge.spool import Record, Spool

logger = logging.getLogger(__name__)

KEEPALIVE_S = 15
"""A dead network is noticed, and the last will published, within 1.5 times this."""
CONNECT_TIMEOUT_S = 10.0
MAX_IN_FLIGHT = 64
NUM_KEPT = 1200
"""Acknowledged blocks kept for sending again: ten minutes of one stream."""
SHORTEST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
FAREWELL_S = 3.0
LONGEST_ENDING_DELAY_S = 3.0
"""Wait before the next attempt once nothing more comes: a broker may be back before the end."""


def backoff_s(failures: int, *, uniform: float) -> float:
    """Wait before the next attempt: doubling, and jittered so that nodes do not come at once.

    Args:
        failures: attempts that failed in a row, from 1.
        uniform: a random number, 0…1.
    """
    delay_s = min(SHORTEST_DELAY_S * 2.0 ** min(failures - 1, 10), LONGEST_DELAY_S)
    return delay_s * (0.5 + uniform)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something a connection has to tell."""

    kind: Literal["connected", "lost", "ack", "message", "wake", "describe", "watch"]
    """What happened."""
    client: mqtt.Client | None = None
    """Whose event it is; a thrown-away client's are ignored."""
    mid: int = 0
    """`ack`: the message's number."""
    reason: str = ""
    """`lost`, and `connected` where the broker refused: why."""
    message: mqtt.MQTTMessage | None = None
    """`message`: what came."""
    stream: str = ""
    """`describe`: whose descriptor changed."""


class Publisher:
    """Publishes a node's birth, its descriptors and its spool, and reconnects for ever."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topics: Topics,
        node: str,
        boot_id: int,
        spool: Spool,
        descriptors: Mapping[str, Mapping[str, object]],
        birth: Mapping[str, object],
        take_model: Callable[[tuple[str, ...], bytes], None] | None = None,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            address: the broker.
            topics: the session's topics.
            node: the node's id.
            boot_id: number of this run of the node.
            spool: what to publish.
            descriptors: what every stream is, by id; retained.
            birth: facts told with `online`.
            take_model: takes what is said below `model/`, called from the publisher's thread; None:
                nothing of it is subscribed to.
        """
        self.num_published = 0
        """Blocks acknowledged."""
        self._address, self._topics, self._node = address, topics, node
        self._boot = f"{boot_id:016x}"
        self._spool, self._descriptors, self._birth = spool, descriptors, birth
        self._take_model = take_model
        self._watched: frozenset[str] = frozenset()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._kept: deque[Record] = deque(maxlen=NUM_KEPT)
        self._deadline_s: float | None = None
        self._aggregator_seen: str | None = None
        self._warned_of: set[str] = set()
        self._thread = threading.Thread(target=self._run, name=f"coeval[{node}].publish")

    def start(self) -> None:
        """Begin to connect and publish."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the spool has something new."""
        self._events.put(Event(kind="wake"))

    def describe(self, stream: str, descriptor: Mapping[str, object]) -> None:
        """Say what a stream is now; also to those who come later, and after a lost connection."""
        self._descriptors = {**self._descriptors, stream: descriptor}
        self._events.put(Event(kind="describe", stream=stream))

    def watch(self, topics: Collection[str]) -> None:
        """Subscribe to these besides what is always subscribed to, and no longer to others."""
        if self._watched == frozenset(topics):
            return
        self._watched = frozenset(topics)
        self._events.put(Event(kind="watch"))

    def close(self, *, drain_s: float) -> int:
        """Wait until everything is acknowledged, say goodbye and end.

        Args:
            drain_s: how long to wait.

        Returns:
            Number of blocks left in the spool.
        """
        if len(self._spool):
            logger.info(
                "waiting for the broker node=%s spooled=%d longest_s=%g; a signal ends it now",
                self._node,
                len(self._spool),
                drain_s,
            )
        self._deadline_s = time.monotonic() + drain_s
        self.wake()
        self._thread.join()
        return len(self._spool)

    def _is_over(self) -> bool:
        return self._deadline_s is not None and time.monotonic() >= self._deadline_s

    def _state(self, state: str, **facts: object) -> bytes:
        """Payload of the node's state topic."""
        return json.dumps(
            {"state": state, "node": self._node, "boot": self._boot, **facts}
        ).encode()

    def _run(self) -> None:
        failures = 0
        while not self._is_over():
            client, why = self._connect()
            if client is None:
                failures += 1
                delay_s = backoff_s(failures, uniform=random.random())
                if self._deadline_s is not None:
                    delay_s = min(delay_s, LONGEST_ENDING_DELAY_S)
                logger.warning(
                    "broker unreachable node=%s broker=%s reason=%s retry_s=%.1f spooled=%d",
                    self._node,
                    self._address,
                    why,
                    delay_s,
                    len(self._spool),
                )
                self._sleep(delay_s)
                continue
            failures = 0
            logger.info("connected node=%s broker=%s", self._node, self._address)
            try:
                if self._serve(client):
                    return
            except OSError:  # the spool's disk
                logger.exception("publishing failed node=%s", self._node)
                self._sleep(LONGEST_DELAY_S)
            finally:
                client.disconnect()
                client.loop_stop()

    def _sleep(self, delay_s: float) -> None:
        """Wait, but not beyond the end, and less when it is near."""
        begun_s = time.monotonic()
        while not self._is_over():
            if self._deadline_s is not None:
                delay_s = min(delay_s, LONGEST_ENDING_DELAY_S)
            if time.monotonic() - begun_s >= delay_s:
                return
            self._next_event(min(0.2, delay_s))

    def _next_event(self, timeout_s: float) -> Event | None:
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _connect(self) -> tuple[mqtt.Client | None, str]:
        """A connected client, or None and why not."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            # Unique to this run: two nodes of one id must both be seen by the aggregator, and not
            # throw each other out for ever.
            client_id=f"coeval-{self._node[:80]}-{self._boot}",
            clean_session=True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(MAX_IN_FLIGHT + 16)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, os.environ.get(PASSWORD_VARIABLE))
        if self._address.tls:
            client.tls_set()
        will = self._state("offline", reason="connection lost")
        client.will_set(self._topics.state(self._node), will, qos=1, retain=True)
        events = self._events

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            why = str(reason) if reason.is_failure else ""
            events.put(Event(kind="connected", client=client, reason=why))

        def on_disconnect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            events.put(Event(kind="lost", client=client, reason=str(reason)))

        def on_publish(client: mqtt.Client, _u: Any, mid: int, _r: Any, _p: Any) -> None:
            events.put(Event(kind="ack", client=client, mid=mid))

        def on_message(client: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            events.put(Event(kind="message", client=client, message=message))

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_publish, client.on_message = on_publish, on_message
        client.connect_timeout = CONNECT_TIMEOUT_S
        try:
            client.connect(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        except (OSError, ValueError) as exc:
            return None, str(exc)
        client.loop_start()
        until_s = time.monotonic() + CONNECT_TIMEOUT_S
        why = "no answer"
        while time.monotonic() < until_s and not self._is_over():
            event = self._next_event(0.2)
            if event is None or event.client is not client:
                continue
            if event.kind == "connected" and not event.reason:
                return client, ""
            why = event.reason
            break
        client.disconnect()
        client.loop_stop()
        return None, why

    def _serve(self, client: mqtt.Client) -> bool:
        """Publish until the connection is lost (False) or everything is said (True)."""
        state_topic = self._topics.state(self._node)
        watched = [(state_topic, 1), (self._topics.state(AGGREGATOR), 1)]
        if self._take_model is not None:
            watched.append((self._topics.model_set, 1))
        client.subscribe(watched)
        subscribed = self._subscribe(client, frozenset())
        self._say_birth(client)
        again: deque[Record] = deque(self._kept)
        in_flight: dict[int, tuple[Record, bool]] = {}
        cursor = 0
        while True:
            while again and len(in_flight) < MAX_IN_FLIGHT:
                record = again.popleft()
                in_flight[self._publish(client, record)] = (record, False)
            room = MAX_IN_FLIGHT - len(in_flight)
            fresh = self._spool.pending(after=cursor, limit=room) if room else []
            for record in fresh:
                in_flight[self._publish(client, record)] = (record, True)
                cursor = record.id
            if self._deadline_s is not None and not in_flight and not again and not fresh:
                self._say_goodbye(client)
                return True
            if self._is_over():
                return True
            event = self._next_event(0.2)
            if event is not None and event.kind == "describe":
                self._say_descriptor(client, event.stream)
            if event is not None and event.kind == "watch":
                subscribed = self._subscribe(client, subscribed)
            if event is None or event.client is not client:
                continue
            if event.kind == "lost":
                logger.warning(
                    "connection lost node=%s broker=%s reason=%s in_flight=%d",
                    self._node,
                    self._address,
                    event.reason,
                    len(in_flight),
                )
                return False
            if event.kind == "ack" and event.mid in in_flight:
                record, is_new = in_flight.pop(event.mid)
                if is_new:
                    self._spool.acknowledge(record.id)
                    self._kept.append(record)
                    self.num_published += 1
            elif event.kind == "message" and event.message is not None:
                if event.message.topic == state_topic:
                    self._see_own_state(client, event.message)
                elif self._is_model(event.message):
                    continue
                elif self._has_aggregator_joined(event.message):
                    again = deque(self._kept)

    def _subscribe(self, client: mqtt.Client, subscribed: frozenset[str]) -> frozenset[str]:
        """Subscribe to what is watched now."""
        wanted = self._watched
        if wanted - subscribed:
            client.subscribe([(topic, 1) for topic in sorted(wanted - subscribed)])
        if subscribed - wanted:
            client.unsubscribe(sorted(subscribed - wanted))
        return wanted

    def _is_model(self, message: mqtt.MQTTMessage) -> bool:
        """Hand on what is said below `model/`."""
        address = self._topics.parse(message.topic)
        if self._take_model is None or address is None or address.kind != "model":
            return False
        self._take_model(address.names, bytes(message.payload))
        return True

    @staticmethod
    def _publish(client: mqtt.Client, record: Record) -> int:
        return client.publish(record.topic, record.payload, qos=1).mid

    def _say_birth(self, client: mqtt.Client) -> None:
        for stream in self._descriptors:
            self._say_descriptor(client, stream)
        birth = self._state("online", **self._birth)
        client.publish(self._topics.state(self._node), birth, qos=1, retain=True)

    def _say_descriptor(self, client: mqtt.Client, stream: str) -> None:
        topic = self._topics.descriptor(self._node, stream)
        client.publish(topic, json.dumps(self._descriptors[stream]), qos=1, retain=True)

    def _say_goodbye(self, client: mqtt.Client) -> None:
        """Publish `offline` and wait until the broker has it."""
        topic, payload = self._topics.state(self._node), self._state("offline", reason="ended")
        mid = client.publish(topic, payload, qos=1, retain=True).mid
        until_s = time.monotonic() + FAREWELL_S
        while time.monotonic() < until_s:
            event = self._next_event(0.2)
            if event is not None and event.kind == "describe":
                self._say_descriptor(client, event.stream)
            if event is None or event.client is not client:
                continue
            if event.kind == "lost" or (event.kind == "ack" and event.mid == mid):
                return

    def _see_own_state(self, client: mqtt.Client, message: mqtt.MQTTMessage) -> None:
        """Answer another run's state: its late last will is set right, a second node is named."""
        state = parse_object(message.payload)
        boot = state.get("boot")
        if boot == self._boot or not isinstance(boot, str):
            return
        if state.get("state") == "offline":
            if not message.retain:
                self._say_birth(client)
        elif not message.retain and boot not in self._warned_of and len(self._warned_of) < 100:
            self._warned_of.add(boot)
            logger.warning(
                "another node has this id node=%s boot=%s other_boot=%s; give one another id",
                self._node,
                self._boot,
                boot,
            )

    def _has_aggregator_joined(self, message: mqtt.MQTTMessage) -> bool:
        """Whether an aggregator tells of a subscription that it did not have before."""
        state = parse_object(message.payload)
        joined = state.get("joined")
        if state.get("state") != "online" or not isinstance(joined, str):
            return False
        is_new = joined != self._aggregator_seen and not message.retain
        self._aggregator_seen = joined
        return is_new


def parse_object(payload: bytes | bytearray) -> dict[str, Any]:
    """A JSON object; an empty one where it is none."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
