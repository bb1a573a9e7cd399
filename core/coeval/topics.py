"""The MQTT topics of a session, built and read in one place.

``{prefix}/{session}/…``: text and state are JSON, blocks are binary on a subtree of their own.
"""

from dataclasses import dataclass
from typing import Literal

from coeval.errors import BadConfig
from coeval.manifest import NOT_IN_AN_ID

DEFAULT_PREFIX = "coeval"
DEFAULT_SESSION = "default"

AGGREGATOR = "aggregator"
"""The aggregator's own state lies beside the nodes', so no node may have this id."""

LONGEST_ID_BYTES = 200
"""Keeps every topic far below MQTT's 65 535 bytes, and ids fit for file names."""

EventKind = Literal[
    "anomaly",
    "contradiction",
    "jump",
    "gap",
    "mislabelled",
    "unrelated",
    "unsynchronised",
    "duplicate",
    "refused",
    "relevance",
    "source",
    "model",
]
"""What an event tells: `duplicate` is two nodes of one id, `refused` a stream not used, `source`
evidence of time that is not what it claims, `contradiction` a loop of clocks that does not close,
`unsynchronised` a stream that is no longer known to be on the timeline, or is again,
`relevance` a stream that begins or ends to carry nothing, `mislabelled` one whose embeddings are
not of the modality that its node states, `model` a node that took, refused or gave
up a set of encoders.
"""


def check_id(value: str, *, what: str) -> str:
    """An id as it is, if it can be one level of a topic.

    Raises:
        BadConfig: it is empty or too long, or holds a separator, a wildcard or a control character.
    """
    encoded = value.encode("utf-8", "replace")
    if not value or len(encoded) > LONGEST_ID_BYTES or NOT_IN_AN_ID.search(value):
        raise BadConfig(
            f"{what} must be 1 to {LONGEST_ID_BYTES} bytes without '/', '+', '#' or control "
            f"characters, got {value!r}"
        )
    if value in (".", "..") or encoded.decode() != value:
        raise BadConfig(f"{what} must be a plain name, got {value!r}")
    return value


def check_node_id(value: str) -> str:
    """A node's id as it is, if it can be one.

    Raises:
        BadConfig: it cannot be a topic level, or is the aggregator's.
    """
    if value == AGGREGATOR:
        raise BadConfig(f"id must not be {AGGREGATOR!r}, which names the aggregator itself")
    if value.startswith("@"):
        raise BadConfig(f"id must not begin with '@', as clocks that are no node do, got {value!r}")
    return check_id(value, what="id")


def told_by_nodes(root: str) -> tuple[str, str, str]:
    """Filters of what nodes tell an aggregator: states and descriptors, blocks, evidence.

    Args:
        root: what the topics of a session begin with, or of all with `+` in the session's place.
    """
    return f"{root}/state/#", f"{root}/bin/+/+", f"{root}/time/+/evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What a received topic is about."""

    kind: Literal["state", "descriptor", "bin", "time", "clock", "aligned", "event", "model"]
    """The subtree; a state with a stream is a `descriptor`."""
    names: tuple[str, ...]
    """The levels below: node; node and stream; node and what of its time; hash and part; or what
    there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The topics of one session."""

    session: str = DEFAULT_SESSION
    """The session's id."""
    prefix: str = DEFAULT_PREFIX
    """What every topic begins with; may have several levels."""

    def __post_init__(self) -> None:
        check_id(self.session, what="session")
        if self.prefix.startswith("$"):
            raise BadConfig(f"prefix must not begin with '$', got {self.prefix!r}")
        for level in self.prefix.split("/"):
            check_id(level, what=f"prefix {self.prefix!r}: every level")

    @property
    def root(self) -> str:
        """What every topic of the session begins with."""
        return f"{self.prefix}/{self.session}"

    def state(self, node: str) -> str:
        """Birth and last will of a node; retained."""
        return f"{self.root}/state/{node}"

    def descriptor(self, node: str, stream: str) -> str:
        """What a stream is: modality, hop, dim, encoder, units; retained."""
        return f"{self.root}/state/{node}/{stream}"

    def block(self, node: str, stream: str) -> str:
        """A stream's blocks."""
        return f"{self.root}/bin/{node}/{stream}"

    def evidence(self, node: str) -> str:
        """What a node measured of its clock, for the aggregator."""
        return f"{self.root}/time/{node}/evidence"

    def time_request(self, node: str) -> str:
        """Where a node, or the aggregator, is asked for its time."""
        return f"{self.root}/time/{node}/request"

    def time_reply(self, node: str) -> str:
        """Where a node gets the answers to what it asked."""
        return f"{self.root}/time/{node}/reply"

    def clock(self, node: str) -> str:
        """The estimate of a node's clock; retained."""
        return f"{self.root}/clock/{node}"

    @property
    def unsynchronised(self) -> str:
        """The streams that are not known to be on the timeline; retained."""
        return f"{self.root}/unsynchronised"

    @property
    def aligned(self) -> str:
        """Ticks on the timeline."""
        return f"{self.root}/aligned"

    @property
    def model_set(self) -> str:
        """Which encoders the nodes are to use; retained."""
        return f"{self.root}/model/set"

    def model_part(self, sha256: str, part: int) -> str:
        """A part of an encoder's file; retained."""
        return f"{self.root}/model/{sha256}/{part}"

    def model_parts(self, sha256: str) -> str:
        """Filter of an encoder's parts."""
        return f"{self.root}/model/{sha256}/+"

    def event(self, kind: EventKind, *levels: str) -> str:
        """Something that happened to a node or stream."""
        return "/".join((self.root, "event", kind, *levels))

    @property
    def all_blocks(self) -> str:
        """Filter of every block."""
        return f"{self.root}/bin/+/+"

    def parse(self, topic: str) -> Address | None:
        """What a topic of this session is about; None where it is none of ours."""
        if not topic.startswith(self.root + "/"):
            return None
        subtree, *names = topic[len(self.root) + 1 :].split("/")
        if "" in names:
            return None
        match subtree, len(names):
            case "state", 1:
                return Address(kind="state", names=tuple(names))
            case "state", 2:
                return Address(kind="descriptor", names=tuple(names))
            case "bin", 2:
                return Address(kind="bin", names=tuple(names))
            case "clock", 1:
                return Address(kind="clock", names=tuple(names))
            case "aligned", 0:
                return Address(kind="aligned", names=())
            case "time", 2 if names[1] in ("evidence", "request", "reply"):
                return Address(kind="time", names=tuple(names))
            case "model", 1 if names == ["set"]:
                return Address(kind="model", names=("set",))
            case "model", 2:
                return Address(kind="model", names=tuple(names))
            case "event", n if n > 0:
                return Address(kind="event", names=tuple(names))
        return None
