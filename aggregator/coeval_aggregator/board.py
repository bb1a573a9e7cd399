"""What a subscriber knows of a session from its messages: the state behind `coeval view`.

In: topics and payloads, from anyone and never trusted. Out: nodes, streams and the last events.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coeval.errors import BadBlock
from coeval.topics import AGGREGATOR, Topics
from coeval.wire import decode_block

KEPT_BLOCKS = 24
"""Half a second each: twelve seconds of activity."""
KEPT_EVENTS = 6
MOST_ROWS = 200
"""Nodes and streams beyond it are not shown: names are free to invent."""


@dataclass(slots=True)
class NodeSeen:
    """What was said of one node."""

    state: str | None = None
    """`online` or `offline`; None: nothing was said."""
    clock: dict[str, Any] = field(default_factory=dict)
    """Its clock topic; empty: nothing was said."""


@dataclass(slots=True)
class StreamSeen:
    """What was seen of one stream."""

    modality: str | None = None
    """What it senses, as its node says."""
    irrelevant: str | None = None
    """Why it carries nothing; None: it does, or nothing was said."""
    moves: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_BLOCKS))
    """How much the embeddings of every block moved."""


class Board:
    """A session as its messages tell it."""

    def __init__(self, topics: Topics) -> None:
        self.nodes: dict[str, NodeSeen] = {}
        """By name."""
        self.streams: dict[tuple[str, str], StreamSeen] = {}
        """By node and stream."""
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        """The latest last."""
        self.degraded: list[str] = []
        """What is wrong with the aggregator, as it says."""
        self.aggregator: str | None = None
        """Whether it is `online` or `offline`; None: it said nothing."""
        self._topics = topics

    def take(self, topic: str, payload: bytes) -> dict[str, Any] | None:
        """Take in a message.

        Returns:
            What it says, where it is JSON of the session; None: a block, or of no use.
        """
        address = self._topics.parse(topic)
        if address is None or not payload:
            return None
        if address.kind == "bin":
            self._take_block(address.names, payload)
            return None
        if address.kind not in ("state", "descriptor", "clock", "event", "aligned"):
            return None
        try:
            value = json.loads(payload)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        match address.kind, address.names:
            case "state", (name,) if name == AGGREGATOR:
                self.aggregator = text_of(value.get("state"))
                wrong = value.get("degraded")
                self.degraded = [str(each) for each in wrong] if isinstance(wrong, list) else []
            case "state", (name,):
                if (node := self._node(name)) is not None:
                    node.state = text_of(value.get("state"))
            case "clock", (name,):
                if (node := self._node(name)) is not None:
                    node.clock = value
            case "descriptor", (name, stream_name):
                if (stream := self._stream(name, stream_name)) is not None:
                    stream.modality = text_of(value.get("modality"))
                    stream.irrelevant = irrelevance_of(value.get("relevance"))
            case "event", _:
                self.events.append(value)
        return value

    def _take_block(self, names: tuple[str, ...], payload: bytes) -> None:
        stream = self._stream(*names)
        if stream is None:
            return
        try:
            rows = decode_block(payload, where="/".join(names)).embeddings
        except BadBlock:
            return
        moved = np.linalg.norm(np.diff(rows.astype(np.float32), axis=0), axis=1)
        stream.moves.append(float(moved.mean()) if len(moved) else 0.0)

    def _node(self, name: str) -> NodeSeen | None:
        if name not in self.nodes and len(self.nodes) >= MOST_ROWS:
            return None
        return self.nodes.setdefault(name, NodeSeen())

    def _stream(self, node: str, stream: str) -> StreamSeen | None:
        if (node, stream) not in self.streams and len(self.streams) >= MOST_ROWS:
            return None
        return self.streams.setdefault((node, stream), StreamSeen())


def irrelevance_of(told: object) -> str | None:
    """Why a stream carries nothing, from its descriptor; None: it does, or nothing was said."""
    if not isinstance(told, dict) or told.get("state") != "irrelevant":
        return None
    return text_of(told.get("reason")) or "?"


def text_of(value: object) -> str | None:
    """A text as it is; None where it is none."""
    return value if isinstance(value, str) else None


def number_of(value: object) -> float | None:
    """A number as it is; None where it is none: unknown is not zero."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]
