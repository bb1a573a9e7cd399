"""What a session's nodes make of the encoders that are announced to them: a plain object.

Messages below `state/` and `event/model/` go in; by node, what became of the set comes out.
"""

import json
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from coeval.model_wire import SetNotice
from coeval.topics import AGGREGATOR, Topics

What = Literal["switched", "refused", "rolled_back", "not asked", "no answer"]
"""`not asked`: its file does not say `accept_models = true`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer:
    """What one node made of a set."""

    what: What
    """What became of it."""
    reason: str | None = None
    """Why it was not taken."""


@dataclass(slots=True)
class _Node:
    is_online: bool = False
    accepts: bool = False
    streams: tuple[str, ...] = ()
    encoders: dict[str, str] = field(default_factory=dict)
    """By stream: the hash of the encoder that it was last described with."""
    said: NodeAnswer | None = None


class Answers:
    """Gathers what nodes say of one set; `take` may be called from another thread."""

    def __init__(self, notice: SetNotice, topics: Topics) -> None:
        self._set = notice.encoder_set
        self._hashes = {file.sha256 for file in notice.files.values()}
        self._topics = topics
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()

    @property
    def filters(self) -> tuple[str, ...]:
        """What to subscribe to."""
        root = self._topics.root
        return f"{root}/state/+", f"{root}/state/+/+", self._topics.event("model", "+")

    def take(self, topic: str, payload: bytes) -> None:
        """Take in a message; one that cannot be read says nothing."""
        address = self._topics.parse(topic)
        if address is None or address.kind not in ("state", "descriptor", "event"):
            return
        try:
            told: Any = json.loads(payload) if payload else {}
        except (ValueError, RecursionError):
            return
        name = address.names[1 if address.kind == "event" else 0]
        if not isinstance(told, dict) or name == AGGREGATOR:
            return
        with self._lock:
            node = self._nodes.setdefault(name, _Node())
            if address.kind == "state":
                node.is_online = told.get("state") == "online"
                node.accepts = told.get("accepts_models") is True
                streams = told.get("streams")
                node.streams = tuple(map(str, streams)) if isinstance(streams, list) else ()
            elif address.kind == "descriptor":
                encoder = told.get("encoder")
                if isinstance(encoder, dict):
                    node.encoders[address.names[1]] = str(encoder.get("sha256"))
            elif told.get("encoder_set") == self._set:
                what, reason = told.get("what"), told.get("reason")
                if what in ("switched", "refused", "rolled_back"):
                    node.said = NodeAnswer(
                        what=what, reason=None if reason is None else f"{reason}"
                    )

    @property
    def nodes(self) -> dict[str, NodeAnswer]:
        """What each node that is online made of the set so far."""
        with self._lock:
            return {
                name: self._answer(node)
                for name, node in sorted(self._nodes.items())
                if node.is_online
            }

    @property
    def is_complete(self) -> bool:
        """Whether every node that was asked has answered."""
        return all(answer.what != "no answer" for answer in self.nodes.values())

    def _answer(self, node: _Node) -> NodeAnswer:
        if not node.accepts:
            return NodeAnswer(what="not asked", reason="accept_models is off in its file")
        if node.said is not None:
            return node.said
        used: Collection[str | None] = [node.encoders.get(stream) for stream in node.streams]
        if used and all(sha256 in self._hashes for sha256 in used):
            return NodeAnswer(what="switched")  # it had the set before
        return NodeAnswer(what="no answer", reason="not in this time; its own log says more")
