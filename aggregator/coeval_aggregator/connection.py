"""The aggregator's one connection to the broker: paho's thread in, a bounded queue out.

A message is acknowledged when its receiver says so, not before: what is not, the broker keeps, and
delivers again on the next connection. Where too much waits, a message is let go unacknowledged;
`renew` gets such messages back.
"""

import logging
import os
import queue
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval.errors import BadBlock, BadConfig
from coeval.evidence_wire import TimeReply, decode_request, encode_reply
from coeval.prompt_socket import acknowledge_at_once, send_at_once
from coeval.topics import AGGREGATOR, Topics, told_by_nodes
from coeval_aggregator.outgoing import Outgoing
from coeval_aggregator.store.records import Ack

logger = logging.getLogger(__name__)

KEEPALIVE_S = 15
QUEUE_LENGTH = 20_000
"""Messages that wait for the loop; beyond it the newest are let go: the broker keeps them."""
FAREWELL_S = 3.0


class Event(NamedTuple):
    """Something the connection has to tell; a tuple: one is made for every message."""

    kind: Literal["subscribed", "lost", "refused", "message"]
    """What happened."""
    topic: str = ""
    """`message`: where it was published."""
    payload: bytes = b""
    """`message`: its bytes."""
    ack: Ack | None = None
    """`message`: what to acknowledge when it is dealt with; None: the sender does not wait."""
    reason: str = ""
    """Otherwise: why."""


class Connection:
    """Subscribes, receives, publishes, acknowledges; reconnects for ever."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        prefix: str,
        session: str,
        will: Outgoing,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            address: the broker.
            prefix: what every topic begins with.
            session: the session's level of the topics, or `+` for any.
            will: what the broker says when we are lost.
        """
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.num_let_go = 0
        """Messages that found the queue full."""
        self._address, self._prefix, self._session, self._will = address, prefix, session, will
        self._connection = 0
        self._client = self._make_client()

    def start(self) -> None:
        """Begin; a broker that is not there is waited for."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def renew(self) -> None:
        """Connect anew, so that the broker delivers again what was not acknowledged."""
        self._client.on_disconnect = None  # it is no news
        self._client.disconnect()
        self._client.loop_stop()
        self._client = self._make_client()  # one that starts again leaks its sockets
        self.start()

    def stop(self, goodbye: Outgoing | None) -> None:
        """Say goodbye and end."""
        if goodbye is not None:
            said = self.publish(goodbye)
            try:
                said.wait_for_publish(FAREWELL_S)
            except (ValueError, RuntimeError) as exc:
                logger.debug("no goodbye reason=%s", exc)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, message: Outgoing) -> mqtt.MQTTMessageInfo:
        """Send a message."""
        return self._client.publish(
            message.topic, message.payload, qos=message.qos, retain=message.retain
        )

    def acknowledge(self, acks: Sequence[Ack]) -> None:
        """Let the broker forget messages; those of an earlier connection it delivers again.

        Any thread may call this.
        """
        for ack in acks:
            if ack.connection == self._connection:
                self._client.ack(ack.mid, 1)

    def _make_client(self) -> mqtt.Client:
        # The broker keeps the subscriptions of this client id, and what it misses.
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"coeval-aggregator-{self._prefix}-{self._session}",
            clean_session=False,
            manual_ack=True,
        )
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(1000)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, os.environ.get(PASSWORD_VARIABLE))
        if self._address.tls:
            client.tls_set()
        client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        root = f"{self._prefix}/{self._session}"
        request = f"/time/{AGGREGATOR}/request"
        # A request comes at QoS 0: it must not wait behind blocks that a store does not take.
        wanted = [*((topic, 1) for topic in told_by_nodes(root)), (root + request, 0)]

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                self._put(Event(kind="refused", reason=str(reason)))
                return
            self._connection += 1
            client.subscribe(wanted)

        def on_subscribe(_c: mqtt.Client, _u: Any, _mid: int, reasons: Any, _p: Any) -> None:
            failed = [str(reason) for reason in reasons if reason.is_failure]
            kind: Literal["refused", "subscribed"] = "refused" if failed else "subscribed"
            self._put(Event(kind=kind, reason=", ".join(failed)))

        def on_message(client: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            received_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            acknowledge_at_once(client.socket())
            ack = Ack(connection=self._connection, mid=message.mid) if message.qos else None
            try:
                topic = message.topic
            except UnicodeDecodeError:
                topic = ""
            if not topic.endswith(request) and topic:
                self._put(
                    Event(kind="message", topic=topic, payload=bytes(message.payload), ack=ack)
                )
                return
            if topic:
                # Answered at once: what waits in the queue would be measured as the path's delay.
                root = topic.removesuffix(request)
                self._answer(client, root, bytes(message.payload), received_ns)
            if ack is not None:
                client.ack(ack.mid, 1)

        def on_publish(client: mqtt.Client, _u: Any, _mid: int, _r: Any, _p: Any) -> None:
            # Unacknowledged, it would keep the broker from passing the next question on.
            acknowledge_at_once(client.socket())

        def on_socket_open(_c: mqtt.Client, _u: Any, connection: Any) -> None:
            send_at_once(connection)

        def on_disconnect(_c: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            self._put(Event(kind="lost", reason=str(reason)))

        def on_connect_fail(_c: mqtt.Client, _u: Any) -> None:
            self._put(Event(kind="lost", reason="cannot connect; retrying"))

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_message, client.on_disconnect = on_message, on_disconnect
        client.on_connect_fail = on_connect_fail
        client.on_publish, client.on_socket_open = on_publish, on_socket_open
        return client

    def _answer(self, client: mqtt.Client, root: str, payload: bytes, received_ns: int) -> None:
        """Tell a node the time; called from paho's thread."""
        try:
            topics = Topics(session=root.removeprefix(f"{self._prefix}/"), prefix=self._prefix)
            request = decode_request(payload, where="time request to the aggregator")
        except (BadBlock, BadConfig) as exc:
            logger.debug("time request dropped reason=%s", exc)
            return
        reply = TimeReply(
            answerer=AGGREGATOR,
            number=request.number,
            t1_ns=request.t1_ns,
            t2_ns=received_ns,
            t3_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW),
        )
        client.publish(topics.time_reply(request.asker), encode_reply(reply), qos=1)

    def _put(self, event: Event) -> None:
        """Hand an event to the loop; called from paho's thread."""
        if event.kind == "message" and self.events.qsize() >= QUEUE_LENGTH:
            self.num_let_go += 1
        else:
            self.events.put(event)
