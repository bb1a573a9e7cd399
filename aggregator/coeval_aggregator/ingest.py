"""One stream's blocks as they arrive: decoded, each once, gaps counted, into the ring.

Order needs no waiting: the ring places rows by their hop, whenever they come.
"""

from dataclasses import dataclass, field

from coeval.errors import BadBlock
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.time import NodeNs
from coeval.wire import Block, decode_block
from coeval_aggregator.ring import Ring

GRACE_S = 10.0
"""A node sends what a broker lost again as soon as it reconnects; a gap is one after this."""
LONGEST_MEMORY = 4096
"""Missing blocks that are remembered by number."""


def decode_for_alignment(data: bytes, *, where: str) -> Block:
    """Read a block that this version can align.

    Raises:
        BadBlock: no block, or embeddings on another grid than this version's.
    """
    block = decode_block(data, where=where, reader="aggregator")
    dim = block.embeddings.shape[1]
    if block.hop_ns != HOP_NS or dim != EMBEDDING_DIM:
        raise BadBlock(
            f"{where}: expected {EMBEDDING_DIM} columns every {HOP_NS} ns, got {dim} every "
            f"{block.hop_ns} ns; use the same version of coeval on node and aggregator"
        )
    if block.t0_node_ns % HOP_NS:
        raise BadBlock(
            f"{where}: expected a start on a multiple of {HOP_NS} ns, got {block.t0_node_ns} ns"
        )
    return block


@dataclass(slots=True)
class SequenceCheck:
    """Which blocks of one stream and boot have come, from their numbers."""

    next_seq: int | None = None
    """The number after the highest seen; None: none seen."""
    missing: dict[int, float | None] = field(default_factory=dict)
    """Numbers not seen, with when they were missed; None: said already, or before our time."""

    def is_new(self, seq: int, *, now_s: float) -> bool:
        """Note a block; False where it came before, or too long ago to tell."""
        if self.next_seq is None or seq >= self.next_seq:
            first = 0 if self.next_seq is None else self.next_seq
            missed_s = None if self.next_seq is None else now_s
            for number in range(max(first, seq - LONGEST_MEMORY), seq):
                self.missing[number] = missed_s
            self.next_seq = seq + 1
            while len(self.missing) > LONGEST_MEMORY:
                del self.missing[next(iter(self.missing))]
            return True
        if seq in self.missing:
            del self.missing[seq]
            return True
        return False

    def lost(self, *, now_s: float) -> list[int]:
        """Numbers given up since the last call: missed for longer than GRACE_S."""
        given_up = [
            number
            for number, missed_s in self.missing.items()
            if missed_s is not None and now_s - missed_s >= GRACE_S
        ]
        for number in given_up:
            self.missing[number] = None
        return given_up


@dataclass(slots=True)
class StreamCounts:
    """What became of a stream's blocks."""

    blocks: int = 0
    """Blocks used."""
    duplicates: int = 0
    """Blocks that came again."""
    late: int = 0
    """Blocks older than the ring."""
    lost: int = 0
    """Blocks that never came."""
    superseded: int = 0
    """Blocks of an encoder that the node has since replaced."""


class StreamIngest:
    """One stream's ring and the books on its blocks."""

    def __init__(self, *, capacity_hops: int) -> None:
        self.ring = Ring(capacity_hops=capacity_hops)
        self.counts = StreamCounts()
        self.boot_id: int | None = None
        self.first_node_ns: NodeNs | None = None
        """Where the first row of this run of the node begins; None: none came."""
        self._check = SequenceCheck()

    def push(self, block: Block, *, now_s: float, first_seq: int = 0) -> bool:
        """Store a block; a new boot starts the stream anew. False where it was there already.

        Blocks before `first_seq` are of an encoder that is no longer used: seen, and not stored.
        """
        if block.boot_id != self.boot_id:
            self.boot_id = block.boot_id
            self.first_node_ns = None
            self._check = SequenceCheck()
            self.ring.clear()
        if not self._check.is_new(block.seq, now_s=now_s):
            self.counts.duplicates += 1
            return False
        if self.first_node_ns is None or block.t0_node_ns < self.first_node_ns:
            self.first_node_ns = block.t0_node_ns
        if block.seq < first_seq:
            self.counts.superseded += 1
            return True
        hops = Hops(t0_node_ns=block.t0_node_ns, rows=block.embeddings)
        if self.ring.write(hops, surprise=block.surprise):
            self.counts.blocks += 1
        else:
            self.counts.late += 1
        return True

    def lost(self, *, now_s: float) -> list[int]:
        """Numbers of blocks given up since the last call."""
        given_up = self._check.lost(now_s=now_s)
        self.counts.lost += len(given_up)
        return given_up
