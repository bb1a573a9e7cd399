"""One stream on the node: samples in, sealed blocks out; a plain object without I/O.

sample → features → encoder → block. Rows are gathered until a block is full, so that the
encoder runs once a block; a gap in the rows seals the block early. Beside the features a watch
looks at the samples: what carries nothing need not be sent.
"""

import logging
from typing import Protocol

import numpy as np

from coeval.features import Extractor
from coeval.hops import HOP_NS, Hops, join
from coeval.relevance import Relevance, RelevanceWatch
from coeval.repeats import RepeatWatch
from coeval.samples import Sample
from coeval.time import NodeNs
from coeval.wire import Block
from coeval_edge.encoder import Encoder
from coeval_edge.left_out import LeftOut

logger = logging.getLogger(__name__)

BLOCK_HOPS = 10
"""Rows in a block: half a second, 368 bytes."""

LARGEST = float(np.finfo(np.float16).max)
"""What float16 holds; comparing with it also finds NaN."""


class HopEncoder(Protocol):
    """Turns a stream's rows of features into embeddings, one a row."""

    def push(self, hops: Hops, /) -> list[Hops]:
        """Embeddings of the next rows."""


class StreamPipeline:
    """Features, encoder and blocks of one stream."""

    def __init__(
        self,
        extractor: Extractor,
        encoder: HopEncoder,
        *,
        name: str,
        boot_id: int,
        block_hops: int = BLOCK_HOPS,
        watch: RelevanceWatch | None = None,
        drop: bool = False,
    ) -> None:
        """Join the parts.

        Args:
            extractor: a fresh extractor of the stream's modality.
            encoder: a fresh encoder of the modality.
            name: the stream, for messages.
            boot_id: number of this run of the node.
            block_hops: rows in a full block.
            watch: says whether the stream carries anything; None: it always does.
            drop: whether to leave out what carries nothing.
        """
        self.name = name
        self.num_samples = 0
        self.num_dropped = 0
        """Samples, and blocks of rows, that could not be used."""
        self._watch, self._drop_irrelevant = watch, drop
        self._changes: list[Relevance] = []
        self._repeats = RepeatWatch()
        self._left_out = LeftOut()
        self.first_seq = 0
        """Number of the first block that the present encoder answered."""
        self.failure: str | None = None
        """Why the encoder that was tried last was given up; None: it was not."""
        self._extractor, self._encoder = extractor, encoder
        self._fallback: Encoder | None = None
        self._boot_id, self._block_hops = boot_id, block_hops
        self._waiting: list[Hops] = []
        self._seq = 0
        self._is_warm = extractor.is_warm

    def push(self, sample: Sample, *, now_node_ns: NodeNs) -> list[Block]:
        """Add a sample; take the blocks it completes. A sample that cannot be used is dropped."""
        self.num_samples += 1
        self._repeats.push(sample)
        blocks: list[Block] = []
        if self._watch is not None:
            blocks = self._note(self._watch.push(sample), now_node_ns=now_node_ns)
        try:
            rows = self._extractor.push(sample)
        except ValueError as exc:
            self._drop(str(exc))
            return blocks
        return blocks + self._add(rows, now_node_ns=now_node_ns)

    def advance(self, now_node_ns: NodeNs) -> list[Block]:
        """Take the blocks that the mere passing of time completes: silence is information."""
        blocks: list[Block] = []
        if self._watch is not None:
            blocks = self._note(self._watch.advance(now_node_ns), now_node_ns=now_node_ns)
        return blocks + self._add(self._extractor.advance(now_node_ns), now_node_ns=now_node_ns)

    def use(self, encoder: Encoder, *, is_new: bool) -> None:
        """Go on with another encoder from the next block on, as if it had been there all along.

        Args:
            encoder: a fresh one of the stream's modality.
            is_new: whether to go back to the present one by itself, should this one fail.
        """
        before = self._encoder
        self.failure, self._fallback = None, None
        if isinstance(before, Encoder):
            encoder.continue_from(before)
            self._fallback = before if is_new else None
        self._encoder, self.first_seq = encoder, self._seq

    def go_back(self) -> None:
        """Give up the encoder that was tried last, where it was not given up yet."""
        if self._fallback is None:
            return
        if isinstance(self._encoder, Encoder) and self.failure is None:
            self._fallback.continue_from(self._encoder)
        self._encoder, self._fallback, self.first_seq = self._fallback, None, self._seq

    @property
    def encoder(self) -> HopEncoder:
        """What answers now."""
        return self._encoder

    @property
    def num_left_out(self) -> int:
        """Rows that were not sent because they carry nothing."""
        return self._left_out.num_hops

    def take_changes(self) -> list[Relevance]:
        """The changes of the stream's relevance since the last call."""
        taken, self._changes = self._changes, []
        return taken

    def flush(self, *, now_node_ns: NodeNs) -> list[Block]:
        """Take all that is left, the last block full or not."""
        blocks = self._add(self._extractor.flush(), now_node_ns=now_node_ns)
        rest, self._waiting = self._waiting, []
        return blocks + [block for part in rest for block in self._seal(part, now_node_ns)]

    def _note(self, changes: list[Relevance], *, now_node_ns: NodeNs) -> list[Block]:
        """Take in changes of relevance; a stream that comes back is sent with what led to it."""
        self._changes += changes
        if not changes or changes[-1].state == "irrelevant":
            return []
        only_seen, sent = self._left_out.take()
        for part in only_seen:
            self._embed(part)
        return [block for part in sent for block in self._encode(part, now_node_ns)]

    def _add(self, rows: list[Hops], *, now_node_ns: NodeNs) -> list[Block]:
        if not rows:
            return []
        if not self._is_warm and self._extractor.is_warm:
            self._is_warm = True
            logger.info("stream warmed up stream=%s boot=%016x", self.name, self._boot_id)
        blocks: list[Block] = []
        runs = join(self._waiting + rows)
        self._waiting = []
        for number, run in enumerate(runs, start=1):
            is_last = number == len(runs)
            for first in range(0, len(run.rows), self._block_hops):
                part = Hops(
                    t0_node_ns=NodeNs(run.t0_node_ns + first * HOP_NS),
                    rows=run.rows[first : first + self._block_hops],
                )
                if is_last and len(part.rows) < self._block_hops:
                    self._waiting = [part]
                else:
                    blocks += self._seal(part, now_node_ns)
        return blocks

    def _seal(self, part: Hops, now_node_ns: NodeNs) -> list[Block]:
        """Encode rows into a block; rows or embeddings that are not finite are dropped."""
        if not np.isfinite(part.rows).all():
            self._drop("features are not finite")
            return []
        if self._drop_irrelevant and self._watch is not None and not self._watch.is_relevant:
            self._left_out.hold(part)
            return []
        return self._encode(part, now_node_ns)

    def _encode(self, part: Hops, now_node_ns: NodeNs) -> list[Block]:
        """Blocks of finite rows."""
        blocks = []
        for hops in self._embed(part):
            if not (np.abs(hops.rows) <= LARGEST).all():
                self._drop("embeddings are not finite, or too large for float16")
                continue
            blocks.append(
                Block(
                    boot_id=self._boot_id,
                    seq=self._seq,
                    t0_node_ns=hops.t0_node_ns,
                    hop_ns=HOP_NS,
                    clock_node_ns=now_node_ns,
                    embeddings=hops.rows,
                    surprise=self._repeats.surprise,
                )
            )
            self._seq += 1
        return blocks

    def _embed(self, part: Hops) -> list[Hops]:
        """Embeddings of the next rows; an encoder that fails while it is tried is given up."""
        if self._fallback is None:
            return self._encoder.push(part)
        assert isinstance(self._encoder, Encoder)
        self._fallback.continue_from(self._encoder)
        try:
            answered = self._encoder.push(part)
        except Exception as exc:  # onnxruntime's own kinds
            self.failure = " ".join(repr(exc).split())[:200]
        else:
            if all((np.abs(hops.rows) <= LARGEST).all() for hops in answered):
                return answered
            self.failure = "its embeddings are not finite, or too large for float16"
        self.go_back()
        return self._encoder.push(part)

    def _drop(self, reason: str) -> None:
        """Count what is dropped; log the first, the second, the fourth … of them."""
        self.num_dropped += 1
        if self.num_dropped & (self.num_dropped - 1) == 0:
            logger.warning(
                "sample dropped stream=%s total=%d reason=%s", self.name, self.num_dropped, reason
            )
