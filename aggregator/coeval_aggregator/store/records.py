"""What is kept, as the session hands it over: plain values, before they become rows.

Nothing here is aligned: blocks stay on their node's clock, and the history of the clocks lies
beside them, so that a later, better estimate places the same blocks anew. What comes with every
message is a tuple, which is made in a fifth of the time.
Sign: offset = node − reference; positive: the node is fast.
"""

from dataclasses import dataclass
from typing import NamedTuple

from coeval.time import NodeNs, RefNs


class BlockRecord(NamedTuple):
    """A block as it came."""

    node: str
    """The node."""
    stream: str
    """The stream."""
    boot_id: int
    """The run of the node."""
    seq: int
    """Number of the block in its stream and run."""
    t0_node_ns: NodeNs
    """Start of the first row's hop."""
    hop_ns: int
    """Time between rows."""
    num_rows: int
    """Rows."""
    dim: int
    """Columns."""
    embeddings: bytes
    """Rows of little-endian float16, as on the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorRecord:
    """What a run of a node said of a stream."""

    node: str
    """The node."""
    stream: str
    """The stream."""
    boot_id: int
    """The run."""
    modality: str
    """What the stream senses."""
    payload: str
    """The descriptor, JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """What a node measured of its clock, as it came."""

    node: str
    """The node."""
    boot_id: int
    """The run."""
    payload: bytes
    """The message, JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One run of a reference node's clock: instants of two timelines cannot be compared."""

    reference: str
    """The node whose clock it is."""
    boot_id: int
    """The run of that node; 0: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRecord:
    """One estimate of a node's clock, with how sure it is."""

    timeline: Timeline
    """Against which clock."""
    node: str
    """The node."""
    boot_id: int
    """The run of the node; 0: not known."""
    status: str
    """`reference`, `locked`, `unsure` or `unrelated`."""
    t_ref_ns: RefNs
    """The instant of the timeline at which the offset holds."""
    covers_from_ns: RefNs
    """Where the material that the estimate rests on begins; it ends at `t_ref_ns`."""
    offset_ns: float | None = None
    """node − reference; None: unknown."""
    skew_ppb: float | None = None
    """Rate of the node against the reference minus one; positive: fast."""
    var_offset_ns2: float | None = None
    """Variance of the offset."""
    cov_offset_skew: float | None = None
    """Covariance of offset and skew, ns·ppb."""
    var_skew_ppb2: float | None = None
    """Variance of the skew."""
    jumps: tuple[tuple[RefNs, float], ...] = ()
    """Steps of the clock: when, and by how much the offset changed; the line holds before them."""
    evidence: tuple[str, ...] = ()
    """Kinds of evidence used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickRecord:
    """What was fused at one instant of the timeline."""

    timeline: Timeline
    """On which timeline."""
    t_ref_ns: RefNs
    """When."""
    anomaly: float | None
    """Anomaly score; None: not computed."""
    payload: str
    """The tick without its streams' summaries, JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """Something that happened to a node or stream."""

    kind: str
    """What: anomaly, jump, gap …"""
    node: str
    """The node."""
    stream: str | None
    """The stream, where it is one's."""
    timeline: Timeline | None
    """The timeline at that moment; None: there was none yet."""
    t_ref_ns: RefNs | None
    """The newest instant of it."""
    payload: str
    """The event, JSON."""


Record = BlockRecord | DescriptorRecord | EvidenceRecord | ClockRecord | TickRecord | EventRecord


class Ack(NamedTuple):
    """A message that its broker keeps until it is acknowledged."""

    connection: int
    """Which connection delivered it: a number means nothing on another."""
    number: int
    """How many messages that are to be acknowledged came before it on that connection."""


class Kept(NamedTuple):
    """What one message, or one step of the session, leaves to be kept."""

    session: str
    """The session."""
    utc_ns: int
    """When the aggregator had it, UTC."""
    records: tuple[Record, ...] = ()
    """What to keep."""
    ack: Ack | None = None
    """What to acknowledge when it is durable; None: nobody waits."""

    def without_message(self) -> "Kept | None":
        """What is left where the message comes again: what the session found; None: nothing."""
        found = tuple(r for r in self.records if isinstance(r, EventRecord | ClockRecord))
        return self._replace(records=found, ack=None) if found else None
