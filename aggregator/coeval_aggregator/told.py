"""What a session hands out: messages to publish, records to keep, counts of what was dropped."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coeval.time import RefNs
from coeval.topics import EventKind, Topics
from coeval_aggregator.outgoing import Outgoing
from coeval_aggregator.store.records import EventRecord, Record, Timeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instant of a timeline."""

    timeline: Timeline
    """Whose clock it is, in which of its runs."""
    t_ref_ns: RefNs
    """When."""


class Told:
    """Gathers what is said and kept until it is taken."""

    def __init__(self, *, topics: Topics, keeps: bool, newest: Callable[[], Moment | None]) -> None:
        """Begin with nothing.

        Args:
            topics: of the session.
            keeps: whether there is a store.
            newest: the newest instant of the timeline; None: whose clock it is is not chosen yet.
        """
        self.topics = topics
        self.counts: Counter[str] = Counter()
        """How many messages came, and why some were dropped."""
        self._keeps, self._newest = keeps, newest
        self._outbox: list[Outgoing] = []
        self._records: list[Record] = []

    def take_records(self) -> list[Record]:
        """What is to be kept since the last call."""
        taken, self._records = self._records, []
        return taken

    def take_outbox(self) -> list[Outgoing]:
        """The messages to publish since the last call."""
        taken, self._outbox = self._outbox, []
        return taken

    def say(
        self, topic: str, value: Mapping[str, object], *, retain: bool = False, qos: int = 1
    ) -> None:
        """Publish a value as JSON."""
        payload = json.dumps(value, allow_nan=False).encode()
        self._outbox.append(Outgoing(topic=topic, payload=payload, retain=retain, qos=qos))

    def keep(self, record: Record) -> None:
        """Keep a record where there is a store."""
        if self._keeps:
            self._records.append(record)

    def event(
        self, event: EventKind, node: str, stream: str | None = None, **facts: object
    ) -> None:
        """Publish an event of a node or one of its streams, and keep it."""
        levels = (node,) if stream is None else (node, stream)
        named = {"event": event, "node": node} | ({} if stream is None else {"stream": stream})
        self.say(self.topics.event(event, *levels), named | facts)
        newest = self._newest()
        self.keep(
            EventRecord(
                kind=event,
                node=node,
                stream=stream,
                timeline=None if newest is None else newest.timeline,
                t_ref_ns=None if newest is None else newest.t_ref_ns,
                payload=json.dumps(named | facts, allow_nan=False),
            )
        )

    def drop(self, kind: str, whose: str, reason: object) -> None:
        """Count what is dropped; log the first, the second, the fourth … of a kind."""
        self.counts[kind] += 1
        total = self.counts[kind]
        if total & (total - 1) == 0:
            logger.warning(
                "dropped kind=%s from=%.100r total=%d reason=%s", kind, whose, total, reason
            )
