"""The aggregator's one connection to the broker: paho's thread in, a bounded queue out.

A message is acknowledged when its receiver says so, not before, and after all that came before it:
what is not, the broker keeps, and delivers again on the next connection; `renew` makes one. Where
too much waits, nothing is read: TCP holds the broker back.
"""

import logging
import os
import queue
import threading
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
from coeval_aggregator.receipts import Receipts
from coeval_aggregator.receiving_client import Received, ReceivingClient
from coeval_aggregator.store.records import Ack
from coeval_aggregator.waiting import take_all

logger = logging.getLogger(__name__)

KEEPALIVE_S = 15
QUEUE_LENGTH = 20_000
"""With so many messages waiting for the loop, no more is read: half a second of its work."""
FAREWELL_S = 3.0
REQUEST = f"/time/{AGGREGATOR}/request"
"""How the topics end at which nodes ask for the time."""


class Event(NamedTuple):
    """Something the connection has to tell; a tuple: one is made for every message."""

    kind: Literal["known", "subscribed", "unreachable", "lost", "refused", "failed", "message"]
    """What happened; `known`: the broker delivers again what was not acknowledged; `unreachable`:
    no connection could be made; `failed`: the thread that receives has ended by a defect, and
    nothing comes until `renew`."""
    topic: str = ""
    """`message`: where it was published."""
    payload: bytes = b""
    """`message`: its bytes."""
    ack: Ack | None = None
    """`message`: what to acknowledge when it is dealt with; None: the sender does not wait."""
    reason: str = ""
    """`lost`, `refused`, `failed`: why."""
    again: range = range(0)
    """`known`: the connections whose messages come again."""


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
        self._address, self._prefix, self._session, self._will = address, prefix, session, will
        self._receipts = Receipts()
        self._first_known = 0
        """The connection on which the broker began to keep what we do not acknowledge."""
        self._acknowledging = threading.Lock()
        """Held while acknowledgements are put in order and queued, and while a connection ends."""
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
        self._begin()
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
        with self._acknowledging:
            self._client.acknowledge(self._receipts.settle(acks))

    def _make_client(self) -> ReceivingClient:
        # The broker keeps the subscriptions of this client id, and what it misses.
        client = ReceivingClient(
            CallbackAPIVersion.VERSION2,
            on_received=lambda messages, received_ns: self._receive(client, messages, received_ns),
            on_reconnect=self._begin,
            on_failed=self._note_failure,
            is_full=lambda: self.events.qsize() >= QUEUE_LENGTH,
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
        # A request comes at QoS 0: it must not wait behind blocks that a store does not take.
        wanted = [*((topic, 1) for topic in told_by_nodes(root)), (root + REQUEST, 0)]

        def on_connect(client: mqtt.Client, _u: Any, flags: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                self.events.put(Event(kind="refused", reason=str(reason)))
                return
            if flags.session_present:
                self._forget_what_comes_again()
            else:
                self._first_known = self._receipts.connection
            client.subscribe(wanted)

        def on_subscribe(_c: mqtt.Client, _u: Any, _mid: int, reasons: Any, _p: Any) -> None:
            failed = [str(reason) for reason in reasons if reason.is_failure]
            kind: Literal["refused", "subscribed"] = "refused" if failed else "subscribed"
            self.events.put(Event(kind=kind, reason=", ".join(failed)))

        def on_publish(client: mqtt.Client, _u: Any, _mid: int, _r: Any, _p: Any) -> None:
            # Unacknowledged, it would keep the broker from passing the next question on.
            acknowledge_at_once(client.socket())

        def on_socket_open(_c: mqtt.Client, _u: Any, connection: Any) -> None:
            send_at_once(connection)

        def on_disconnect(_c: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            self.events.put(Event(kind="lost", reason=str(reason)))

        def on_connect_fail(_c: mqtt.Client, _u: Any) -> None:
            self.events.put(Event(kind="unreachable"))

        client.on_connect, client.on_subscribe = on_connect, on_subscribe
        client.on_disconnect = on_disconnect
        client.on_connect_fail = on_connect_fail
        client.on_publish, client.on_socket_open = on_publish, on_socket_open
        return client

    def _receive(self, client: mqtt.Client, messages: Sequence[Received], received_ns: int) -> None:
        """Hand messages to the loop, and answer those who ask for the time; in paho's thread."""
        acknowledge_at_once(client.socket())
        with self._acknowledging:
            mids = [each.mid for each in messages]
            acks = [None if mid is None else self._receipts.note(mid) for mid in mids]
        for (raw_topic, payload, _), ack in zip(messages, acks, strict=True):
            try:
                topic = raw_topic.decode()
            except UnicodeDecodeError:
                topic = ""
            if topic and not topic.endswith(REQUEST):
                self.events.put(Event("message", topic, payload, ack))
                continue
            if topic:
                # Answered at once: what waits in the queue would be measured as the path's delay.
                self._answer(client, topic.removesuffix(REQUEST), payload, received_ns)
            if ack is not None:
                self.acknowledge([ack])

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

    def _note_failure(self, exc: Exception) -> None:
        """Tell that nothing is received any more; called from paho's thread, which ends."""
        logger.error("receiving failed", exc_info=exc)
        self.events.put(Event(kind="failed", reason=f"{type(exc).__name__}: {exc}"))

    def _begin(self) -> None:
        """From now on what was received before cannot be acknowledged any more."""
        with self._acknowledging:
            self._receipts.begin()

    def _forget_what_comes_again(self) -> None:
        """Drop what waits and was not acknowledged: the broker, which knows us, sends it anew.

        What came before the broker last forgot us it does not send again: that stays.

        Kept, it would be dealt with twice. `known` lets others do the same, before any of it comes.
        """
        again = range(self._first_known, self._receipts.connection)
        for event in take_all(self.events):
            if event.ack is None or event.ack.connection not in again:
                self.events.put(event)
        self.events.put(Event(kind="known", again=again))
