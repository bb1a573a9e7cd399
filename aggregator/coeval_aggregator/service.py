"""The aggregator as a process: paho's thread → bounded queue → one loop that owns the session.

The loop is the only place that publishes. The estimator runs in a worker thread on copies; the
loop goes on meanwhile. Nothing that comes from the network ends it.
"""

import json
import logging
import os
import queue
import secrets
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval import __version__
from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval.errors import BadBlock, NotEnoughEvidence
from coeval.estimates import SessionEstimate
from coeval.evidence_wire import TimeReply, decode_request, encode_reply
from coeval.prompt_socket import acknowledge_at_once, send_at_once
from coeval.topics import AGGREGATOR
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.estimate import estimate_clocks
from coeval_aggregator.session import Outgoing, Session

logger = logging.getLogger(__name__)

KEEPALIVE_S = 15
QUEUE_LENGTH = 20_000
"""Messages that wait for the loop; beyond it the newest are dropped, counted and logged."""
CHECK_S = 1.0
STATE_S = 10.0
FAREWELL_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something the connection has to tell."""

    kind: Literal["subscribed", "lost", "refused", "message"]
    """What happened."""
    topic: str = ""
    """`message`: where it was published."""
    payload: bytes = b""
    """`message`: its bytes."""
    reason: str = ""
    """Otherwise: why."""


class Aggregator:
    """Serves one session until told to stop."""

    def __init__(self, config: AggregatorConfig) -> None:
        self.config = config
        self.session = Session(config)
        self._boot = secrets.token_hex(8)
        self._topics = config.topics
        self._address = BrokerAddress.parse(config.broker)
        self._events: queue.Queue[Event] = queue.Queue(QUEUE_LENGTH)
        self._num_overflowed = 0
        self._num_joined = 0
        self.is_connected = False
        """Whether the broker delivers to us."""
        self._retained: dict[str, Outgoing] = {}
        """What was last said on every retained topic: a broker that restarts may forget it."""
        self._client = self._make_client()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; a broker that is not there is waited for."""
        logger.info("aggregator session=%s broker=%s", self.config.session, self._address)
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="coeval[aggregator].estimate") as worker:
                self._loop(stop, worker)
        finally:
            self._say_goodbye()
            self._client.disconnect()
            self._client.loop_stop()

    def _make_client(self) -> mqtt.Client:
        # One aggregator a session: the broker keeps its subscriptions and what it misses.
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"coeval-aggregator-{self.config.prefix}-{self.config.session}",
            clean_session=False,
        )
        client.reconnect_delay_set(1, 30)
        client.max_queued_messages_set(1000)
        if self._address.user is not None:
            client.username_pw_set(self._address.user, os.environ.get(PASSWORD_VARIABLE))
        if self._address.tls:
            client.tls_set()
        will = self._state("offline", reason="connection lost").payload
        client.will_set(self._topics.state(AGGREGATOR), will, qos=1, retain=True)

        def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
            if reason.is_failure:
                self._put(Event(kind="refused", reason=str(reason)))
                return
            wanted = (
                self._topics.all_states,
                self._topics.all_blocks,
                self._topics.all_evidence,
                self._topics.time_request(AGGREGATOR),
            )
            client.subscribe([(topic, 1) for topic in wanted])

        def on_subscribe(_c: mqtt.Client, _u: Any, _mid: int, reasons: Any, _p: Any) -> None:
            failed = [str(reason) for reason in reasons if reason.is_failure]
            kind: Literal["refused", "subscribed"] = "refused" if failed else "subscribed"
            self._put(Event(kind=kind, reason=", ".join(failed)))

        def on_message(client: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
            received_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
            acknowledge_at_once(client.socket())
            try:
                topic = message.topic
            except UnicodeDecodeError:
                return
            if topic == self._topics.time_request(AGGREGATOR):
                # Answered at once: what waits in the queue would be measured as the path's delay.
                self._answer(client, bytes(message.payload), received_ns)
                return
            self._put(Event(kind="message", topic=topic, payload=bytes(message.payload)))

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

    def _answer(self, client: mqtt.Client, payload: bytes, received_ns: int) -> None:
        """Tell a node the time; called from paho's thread."""
        try:
            request = decode_request(payload, where="time request to the aggregator")
        except BadBlock as exc:
            logger.debug("time request dropped reason=%s", exc)
            return
        reply = TimeReply(
            answerer=AGGREGATOR,
            number=request.number,
            t1_ns=request.t1_ns,
            t2_ns=received_ns,
            t3_ns=time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW),
        )
        client.publish(self._topics.time_reply(request.asker), encode_reply(reply), qos=1)

    def _put(self, event: Event) -> None:
        """Hand an event to the loop; called from paho's thread."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            self._num_overflowed += 1

    def _loop(self, stop: threading.Event, worker: ThreadPoolExecutor) -> None:
        estimate: Future[SessionEstimate] | None = None
        began_s = 0.0
        next_estimate_s = next_check_s = next_tick_s = next_state_s = time.monotonic()
        while not stop.is_set():
            self._take_events(until_s=min(next_check_s, next_tick_s))
            now_s = time.monotonic()
            if estimate is not None and estimate.done():
                self._apply(estimate, now_s=now_s)
                estimate = None
                # A slow machine spends at most half its time on estimates.
                next_estimate_s = max(began_s + self.config.estimate_s, 2 * now_s - began_s)
            if estimate is None and now_s >= next_estimate_s:
                next_estimate_s = now_s + self.config.estimate_s
                snapshot = self.session.snapshot()
                if snapshot is None:
                    self.session.tell_clocks(now_s=now_s)
                else:
                    began_s = now_s
                    estimate = worker.submit(
                        estimate_clocks,
                        snapshot.tracks,
                        reference=snapshot.reference,
                        evidence=snapshot.lines,
                        pairs=snapshot.pairs,
                        t_ref_ns=snapshot.t_ref_ns,
                        max_offset_s=self.config.max_offset_s,
                    )
            if now_s >= next_tick_s:
                next_tick_s = now_s + self.config.tick_s
                self.session.tell_ticks()
            if now_s >= next_check_s:
                next_check_s = now_s + CHECK_S
                self.session.check(now_s=now_s)
            if now_s >= next_state_s and self.is_connected:
                next_state_s = now_s + STATE_S
                self._say_online()
            for message in self.session.take_outbox():
                self._publish(message)

    def _take_events(self, *, until_s: float) -> None:
        """Handle what waits, for at most until then."""
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left_s)
            except queue.Empty:
                return
            try:
                self._take(event)
            except Exception:  # a defect of ours must not end the service
                self.session.counts["failed"] += 1
                logger.exception("message failed topic=%s", event.topic)

    def _take(self, event: Event) -> None:
        if event.kind == "message":
            self.session.handle(event.topic, event.payload, now_s=time.monotonic())
        elif event.kind == "subscribed":
            self.is_connected = True
            self._num_joined += 1
            logger.info("connected session=%s broker=%s", self.config.session, self._address)
            for message in list(self._retained.values()):
                self._publish(message)
            self._say_online()
        else:
            self.is_connected = False
            logger.warning(
                "no connection broker=%s reason=%s; if this repeats although the broker runs, "
                "another aggregator of session %s may be running",
                self._address,
                event.reason,
                self.config.session,
            )

    def _apply(self, estimate: "Future[SessionEstimate]", *, now_s: float) -> None:
        """Take over a finished estimate; one that failed changes nothing."""
        failure = estimate.exception()
        if failure is None:
            found = estimate.result()
            self.session.note_pairs(found.pairs, found.contradictions)
            self.session.apply(found.nodes, now_s=now_s)
            return
        if isinstance(failure, NotEnoughEvidence):
            logger.debug("no estimate reason=%s", failure)
        else:
            self.session.counts["failed_estimates"] += 1
            logger.error("estimate failed", exc_info=failure)
        self.session.tell_clocks(now_s=now_s)

    def _state(self, state: str, **facts: object) -> Outgoing:
        value = {"state": state, "node": AGGREGATOR, "boot": self._boot, **facts}
        return Outgoing(
            topic=self._topics.state(AGGREGATOR), payload=json.dumps(value).encode(), retain=True
        )

    def _say_online(self) -> None:
        """Tell that we are there; a new `joined` makes nodes send their last blocks again."""
        facts = self.session.facts()
        joined = f"{self._boot}-{self._num_joined}"
        self._publish(
            self._state(
                "online",
                software=__version__,
                joined=joined,
                queue_overflows=self._num_overflowed,
                **facts,
            )
        )

    def _publish(self, message: Outgoing) -> None:
        if message.retain:
            self._retained[message.topic] = message
        if self.is_connected:
            self._client.publish(
                message.topic, message.payload, qos=message.qos, retain=message.retain
            )

    def _say_goodbye(self) -> None:
        if not self.is_connected:
            return
        message = self._state("offline", reason="ended")
        said = self._client.publish(message.topic, message.payload, qos=1, retain=True)
        try:
            said.wait_for_publish(FAREWELL_S)
        except (ValueError, RuntimeError) as exc:
            logger.debug("no goodbye reason=%s", exc)
