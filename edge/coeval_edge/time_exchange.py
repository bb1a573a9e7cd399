"""Two-way time exchange over MQTT: a node asks the aggregator and its peers, and answers theirs.

A connection of its own, so that no block waits in front of a question. Stamps are taken as near
the socket as the library allows: right before `publish`, and first thing when a message comes.
QoS 1 throughout, and nothing waits in the socket (`prompt_socket`).
"""

import logging
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval.errors import BadBlock
from coeval.evidence import SERVER
from coeval.evidence_wire import (
    EvidenceMessage,
    ExchangeSample,
    TimeReply,
    TimeRequest,
    decode_reply,
    decode_request,
    encode_evidence,
    encode_reply,
    encode_request,
)
from coeval.network import Exchange
from coeval.prompt_socket import acknowledge_at_once, send_at_once
from coeval.topics import AGGREGATOR, Topics

logger = logging.getLogger(__name__)

KEEPALIVE_S = 15
MOST_OUTSTANDING = 64
"""Questions remembered, or four to each who is asked; an answer to an older one is none."""
EVERY_S = 1.0


def raw_monotonic_ns() -> int:
    """The node's clock: monotonic, and steered by nobody."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


class TimeExchange:
    """Asks for the time and answers, until closed."""

    def __init__(
        self,
        *,
        address: BrokerAddress,
        topics: Topics,
        node: str,
        boot_id: int,
        peers: Sequence[str] = (),
        every_s: float = EVERY_S,
        clock_ns: Callable[[], int] = raw_monotonic_ns,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            address: the broker.
            topics: the session's topics.
            node: this node's id.
            boot_id: number of this run of the node.
            peers: other nodes to ask, beside the aggregator.
            every_s: time between questions to each.
            clock_ns: the node's clock.
        """
        self.counts: Counter[str] = Counter()
        """Messages by what became of them: asked, exchanged, answered, unasked, bad."""
        self._topics, self._node, self._boot_id = topics, node, boot_id
        self._asked = (AGGREGATOR, *peers)
        self._most_outstanding = max(MOST_OUTSTANDING, 4 * len(self._asked))
        self._every_s, self._clock_ns = every_s, clock_ns
        self._address = address
        self._outstanding: OrderedDict[int, TimeRequest] = OrderedDict()
        self._whom: dict[int, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._client = self._make_client()
        self._thread = threading.Thread(target=self._ask, name=f"coeval[{node}].time")

    def start(self) -> None:
        """Begin to connect, ask and answer; a broker that is not there is waited for."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.reconnect_delay_set(1, 30)
        # A question that waited for a connection would measure the wait.
        client.max_queued_messages_set(self._most_outstanding)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, os.environ.get(PASSWORD_VARIABLE))
        if self._address.tls:
            client.tls_set()
        request, reply = self._topics.time_request(self._node), self._topics.time_reply(self._node)

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                logger.warning("time exchange refused node=%s reason=%s", self._node, reason)
                return
            client.subscribe([(request, 1), (reply, 1)])

        def on_message(client: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            now_ns = self._clock_ns()
            try:
                if message.topic == request:
                    self._answer(bytes(message.payload), now_ns)
                elif message.topic == reply:
                    self._finish(bytes(message.payload), now_ns)
            except (BadBlock, UnicodeDecodeError) as exc:
                self.counts["bad"] += 1
                logger.debug("time message dropped node=%s reason=%s", self._node, exc)
            acknowledge_at_once(client.socket())

        def on_publish(client: mqtt.Client, _u: Any, _mid: int, _r: Any, _p: Any) -> None:
            # The broker has our question: unacknowledged, it would hold the answer back.
            acknowledge_at_once(client.socket())

        def on_socket_open(_c: mqtt.Client, _u: Any, connection: Any) -> None:
            send_at_once(connection)

        client.on_connect, client.on_message = on_connect, on_message
        client.on_publish, client.on_socket_open = on_publish, on_socket_open
        return client

    def _ask(self) -> None:
        number = 0
        while not self._stop.wait(self._every_s):
            if not self._client.is_connected():
                continue
            for whom in self._asked:
                number += 1
                self._ask_once(whom, number)

    def _ask_once(self, whom: str, number: int) -> None:
        request = TimeRequest(asker=self._node, number=number, t1_ns=self._clock_ns())
        with self._lock:
            self._outstanding[number], self._whom[number] = request, whom
            while len(self._outstanding) > self._most_outstanding:
                oldest, _ = self._outstanding.popitem(last=False)
                del self._whom[oldest]
        self.counts["asked"] += 1
        self._client.publish(self._topics.time_request(whom), encode_request(request), qos=1)

    def _answer(self, payload: bytes, received_ns: int) -> None:
        request = decode_request(payload, where=f"time request to {self._node}")
        reply = TimeReply(
            answerer=self._node,
            number=request.number,
            t1_ns=request.t1_ns,
            t2_ns=received_ns,
            t3_ns=self._clock_ns(),
        )
        self.counts["answered"] += 1
        self._client.publish(self._topics.time_reply(request.asker), encode_reply(reply), qos=1)

    def _finish(self, payload: bytes, received_ns: int) -> None:
        """Take an answer, if it is one to a question that was asked of who answers."""
        reply = decode_reply(payload, where=f"time reply to {self._node}")
        with self._lock:
            request = self._outstanding.get(reply.number)
            whom = self._whom.get(reply.number)
            if request is None or request.t1_ns != reply.t1_ns or whom != reply.answerer:
                self.counts["unasked"] += 1
                return
            del self._outstanding[reply.number], self._whom[reply.number]
        exchange = Exchange(
            t1_ns=request.t1_ns, t2_ns=reply.t2_ns, t3_ns=reply.t3_ns, t4_ns=received_ns
        )
        self.counts["exchanged"] += 1
        sample = ExchangeSample(
            other=SERVER if whom == AGGREGATOR else reply.answerer, exchange=exchange
        )
        message = EvidenceMessage(boot_id=self._boot_id, samples=(sample,))
        self._client.publish(self._topics.evidence(self._node), encode_evidence(message), qos=1)
