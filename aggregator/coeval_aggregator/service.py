"""The aggregator as a process: connection → bounded queue → loop that owns the sessions → store.

The loop is the only place that publishes. The estimator and the store have a thread each; the loop
goes on meanwhile. Nothing that comes from the network ends it. A message is acknowledged when what
it left is durable (docs/decisions/0030-the-store.md).
"""

import json
import logging
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from coeval import __version__
from coeval.broker_address import BrokerAddress
from coeval.errors import BadConfig
from coeval.topics import AGGREGATOR, Topics
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.connection import Connection, Event
from coeval_aggregator.estimating import Estimating
from coeval_aggregator.failed_receiving import FailedReceiving
from coeval_aggregator.fusing import load_early
from coeval_aggregator.home_assistant_link import HomeAssistantLink
from coeval_aggregator.outgoing import Outgoing
from coeval_aggregator.session import Session
from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.records import Kept
from coeval_aggregator.store.store import Store
from coeval_aggregator.store.writer import StoreWriter
from coeval_aggregator.view import SessionView, View

logger = logging.getLogger(__name__)

CHECK_S = 1.0
LOOK_S = 0.05
"""Messages are taken for so long at most before ticks that are due are told."""
MAKING_UP_S = 0.05
"""Ticks of an outage are made up for so long, and a part more, before other work goes on."""
STATE_S = 10.0
WAIT_FOR_STORE_S = 0.01
"""How long nothing is taken from the queue where the store is behind."""
BEHIND = 2000
"""With so many messages waiting, ticks wait too: what came is made durable first, and ticks whose
time has passed are left out."""


class Aggregator:
    """Serves one session, or all there are, until told to stop."""

    def __init__(
        self,
        config: AggregatorConfig,
        *,
        open_a_store: Callable[[str], Store] = open_store,
    ) -> None:
        """Prepare; `run` serves.

        Args:
            config: what to serve and how.
            open_a_store: connects to the store of a URL; replaced in tests of failures.
        """
        self.config = config
        self.sessions: dict[str, Session] = {}
        """Every session that is served, by name."""
        self.counts: Counter[str] = Counter()
        """Messages of no session that is served, and why."""
        self.is_connected = False
        """Whether the broker delivers to us."""
        self._boot = secrets.token_hex(8)
        self._address = BrokerAddress.parse(config.broker)
        # The sessions' own topics, where there are several, could not all be a last will.
        self._state_topic = (
            f"{config.prefix}/state/{AGGREGATOR}"
            if config.serves_all
            else config.topics.state(AGGREGATOR)
        )
        self._connection = Connection(
            address=self._address,
            prefix=config.prefix,
            session=config.session,
            will=self._state("offline", self._state_topic, reason="connection lost"),
        )
        self._home_assistant = HomeAssistantLink(
            address=self._address,
            prefix=config.prefix,
            session=None if config.serves_all else config.session,
            server_topic=self._state_topic,
            is_on=config.home_assistant,
        )
        self.view = View()
        """The aggregator as other threads may see it; replaced as a whole once a second."""
        self.store: StoreWriter | None = None
        """What writes what comes; None: nothing is kept."""
        if not config.store.is_none:
            self.store = StoreWriter(
                lambda: open_a_store(config.store.url),
                config=config.store,
                acknowledge=self._connection.acknowledge,
            )
        self._receiving = FailedReceiving()
        self._num_joined = 0
        self._num_renewed_for = 0
        self._told_problems: list[str] = []
        self._retained: dict[str, Outgoing] = {}
        """What was last said on every retained topic: a broker that restarts may forget it."""
        if not config.serves_all:
            self._session(config.session)

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; a broker or a database that is not there is waited for.

        Raises:
            StoreUnusable: the store has a newer schema, or is none.
        """
        logger.info("aggregator session=%s broker=%s", self.config.session, self._address)
        load_early(self.config.fusion)
        if self.store is not None:
            self.store.start()
        self._connection.start()
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="coeval[aggregator].estimate") as worker:
                self._loop(stop, Estimating(worker, estimate_s=self.config.estimate_s))
        finally:
            self._home_assistant.close()
            if self.store is not None:
                self.store.close()
            for name in self.sessions if self.config.serves_all else ():
                topic = self._topics(name).state(AGGREGATOR)
                self._publish(self._state("offline", topic, reason="ended"))
            goodbye = self._state("offline", self._state_topic, reason="ended")
            self._connection.stop(goodbye if self.is_connected else None)

    def problems(self) -> list[str]:
        """Why the aggregator is degraded, one line each."""
        store = None if self.store is None else self.store.state.problem
        receiving = self._receiving.problem(now_s=time.monotonic())
        told = None if store is None else f"store: {store.removeprefix('store ')}", receiving
        return [each for each in told if each is not None]

    def _loop(self, stop: threading.Event, estimating: Estimating) -> None:
        next_check_s = next_state_s = time.monotonic()
        while not stop.is_set():
            self._take_events(until_s=min(next_check_s, time.monotonic() + LOOK_S))
            now_s = time.monotonic()
            estimating.step(self.sessions, now_s=now_s)
            self._tell_ticks()
            if now_s >= next_check_s:
                next_check_s = now_s + CHECK_S
                for session in self.sessions.values():
                    session.check(now_s=now_s)
                self._get_back_what_was_held_back()
                if self._receiving.is_due(now_s=now_s):
                    self._connection.renew()
                self.view = self._make_view(estimating)
                if self.is_connected:
                    nodes = {name: each.stated.keys() for name, each in self.sessions.items()}
                    self._home_assistant.look(nodes, now_s=now_s)
            problems = self.problems()
            if is_news := problems != self._told_problems:
                self._told_problems = problems
                logger.warning("degraded problems=%s", problems or "none any more")
            if (now_s >= next_state_s or is_news) and self.is_connected:
                next_state_s = now_s + STATE_S
                self._say_online()
            for name, session in self.sessions.items():
                self._hand_out(name, session)

    def _hand_out(self, name: str, session: Session) -> None:
        """Give what a session left to the store, and to the broker."""
        self._keep(name, session)
        for message in session.told.take_outbox():
            self._publish(message)

    def _tell_ticks(self) -> None:
        """Tell of the aligned rows that are due, unless blocks wait.

        Sessions that are level come first; what others have to make up is told part by part, that
        of the one that is furthest behind first.
        """
        if self._connection.events.qsize() >= BEHIND:
            return
        until_s = time.monotonic() + MAKING_UP_S
        for name, session in self.sessions.items():
            if session.may_tick and not session.num_ticks_behind:
                session.tell_ticks()
                self._hand_out(name, session)
        while (behind := self._furthest_behind()) is not None:
            self.sessions[behind].tell_ticks()
            self._hand_out(behind, self.sessions[behind])
            if time.monotonic() >= until_s:
                return

    def _furthest_behind(self) -> str | None:
        """The session that has most ticks to make up; None: none has any."""
        behind = {name: each.num_ticks_behind for name, each in self.sessions.items()}
        name = max(behind, key=behind.__getitem__, default=None)
        return name if name is not None and behind[name] else None

    def _make_view(self, estimating: Estimating) -> View:
        return View(
            estimating_cpu_s=estimating.cpu_s,
            is_connected=self.is_connected,
            problems=tuple(self.problems()),
            store=None if self.store is None else self.store.state,
            sessions={
                name: SessionView(facts=session.facts(), clocks=session.stated)
                for name, session in self.sessions.items()
            },
        )

    def _take_events(self, *, until_s: float) -> None:
        """Handle what waits and comes until then, or until ticks are due and nothing waits."""
        while (left_s := until_s - time.monotonic()) > 0:
            if self.store is not None and self.store.is_behind:
                time.sleep(min(left_s, WAIT_FOR_STORE_S))
                continue
            try:
                event = self._next_event(left_s)
            except queue.Empty:
                return
            try:
                self._take(event)
            except Exception:  # a defect of ours must not end the service
                self.counts["failed"] += 1
                logger.exception("message failed topic=%s", event.topic)

    def _next_event(self, wait_s: float) -> Event:
        """What came next; it is not waited for where ticks are due.

        Raises:
            queue.Empty: nothing came.
        """
        events = self._connection.events
        if events.empty() and any(session.may_tick for session in self.sessions.values()):
            raise queue.Empty
        return events.get(timeout=wait_s)

    def _take(self, event: Event) -> None:
        if event.kind == "message":
            self._take_message(event)
        elif event.kind == "subscribed":
            self.is_connected = True
            self._num_joined += 1
            logger.info("connected session=%s broker=%s", self.config.session, self._address)
            for message in list(self._retained.values()):
                self._publish(message)
            self._say_online()
        elif event.kind == "known":
            if self.store is not None:
                self.store.forget(event.again)
        elif event.kind == "failed":
            self.is_connected = False
            self._receiving.note(event.reason, now_s=time.monotonic())
        elif event.kind == "unreachable":
            self.is_connected = False
            logger.warning(
                "no broker at %s; start one, as with `mosquitto`, or name it by --broker; retrying",
                self._address,
            )
        else:
            self.is_connected = False
            logger.warning(
                "no connection broker=%s reason=%s; if this repeats although the broker runs, "
                "another aggregator of session %s may be running",
                self._address,
                event.reason,
                self.config.session,
            )

    def _take_message(self, event: Event) -> None:
        """Hand a message to its session, and what it leaves to the store."""
        name, _, _ = event.topic.removeprefix(f"{self.config.prefix}/").partition("/")
        session = self._session(name)
        is_taken = True
        if session is not None:
            try:
                session.handle(event.topic, event.payload, now_s=time.monotonic())
            finally:
                is_taken = self._keep(name, session, event=event)
        elif event.ack is not None:
            self._connection.acknowledge([event.ack])
        if not is_taken:
            self.counts["held_back"] += 1

    def _keep(self, name: str, session: Session, *, event: Event | None = None) -> bool:
        """Give the store what a session left; False where the store takes nothing more.

        A message that left nothing is acknowledged here.
        """
        records = session.told.take_records()
        ack = None if event is None else event.ack
        if records and self.store is not None:
            kept = Kept(session=name, utc_ns=time.time_ns(), records=tuple(records), ack=ack)
            if self.store.put(kept):
                return True
            if ack is not None and (found := kept.without_message()) is not None:
                self.store.put(found)
            return False
        if ack is not None:
            self._connection.acknowledge([ack])
        return True

    def _session(self, name: str) -> Session | None:
        """A session by name, made where it is to be served; None: it is not."""
        session = self.sessions.get(name)
        if session is not None or (self.sessions and not self.config.serves_all):
            return session
        if len(self.sessions) >= self.config.max_sessions:
            self.counts["too_many_sessions"] += 1
            return None
        try:
            session = Session(self.config.of_session(name))
        except BadConfig as exc:
            self.counts["bad_session"] += 1
            logger.debug("message dropped session=%.100r reason=%s", name, exc)
            return None
        self.sessions[name] = session
        if self.config.serves_all:
            logger.info("session begins session=%s", name)
            if self.is_connected:
                self._say_online_in(name, session)
        return session

    def _get_back_what_was_held_back(self) -> None:
        """Ask the broker again for what could not be taken, once it can.

        At once: nothing that came after it can be acknowledged on this connection.
        """
        num_held_back = self.counts["held_back"]
        if num_held_back == self._num_renewed_for or self._is_store_away:
            return
        logger.info("asking the broker again num=%d", num_held_back - self._num_renewed_for)
        self._num_renewed_for = num_held_back
        self.is_connected = False
        self._connection.renew()

    @property
    def _is_store_away(self) -> bool:
        return self.store is not None and self.store.state.problem is not None

    def _topics(self, session: str) -> Topics:
        return Topics(session=session, prefix=self.config.prefix)

    def _state(self, state: str, topic: str, **facts: object) -> Outgoing:
        value = {"state": state, "node": AGGREGATOR, "boot": self._boot, **facts}
        return Outgoing(topic=topic, payload=json.dumps(value).encode(), retain=True)

    def _say_online(self) -> None:
        """Tell that we are there, and how we are."""
        for name, session in self.sessions.items():
            self._say_online_in(name, session)
        if self.config.serves_all:
            sessions = sorted(self.sessions)
            self._publish(
                self._state("online", self._state_topic, sessions=sessions, **self._facts())
            )

    def _say_online_in(self, name: str, session: Session) -> None:
        """Tell a session; a new `joined` makes nodes send their last blocks again."""
        topic = self._topics(name).state(AGGREGATOR)
        self._publish(self._state("online", topic, **self._facts(), **session.facts()))

    def _facts(self) -> dict[str, object]:
        """What holds for all sessions."""
        return {
            "software": __version__,
            "joined": f"{self._boot}-{self._num_joined}",
            "degraded": self.problems(),
            "store": None if self.store is None else self.store.state.facts(now_s=time.monotonic()),
        }

    def _publish(self, message: Outgoing) -> None:
        if message.retain:
            self._retained[message.topic] = message
        if self.is_connected:
            self._connection.publish(message)
