"""Every stream of a session: its rows, what its node says of it, and whether it is used."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field

from coeval.recognition.embeddings import EmbeddingKind
from coeval.time import NodeNs
from coeval_aggregator.aligned import AlignedStream
from coeval_aggregator.clocks import ClockBook
from coeval_aggregator.descriptors import (
    Descriptor,
    StreamKey,
    expected_encoders,
    expected_set,
    parse_descriptor,
)
from coeval_aggregator.estimate import TrackSnapshot
from coeval_aggregator.ingest import StreamIngest
from coeval_aggregator.recognise import recognise_embeddings
from coeval_aggregator.store.records import DescriptorRecord
from coeval_aggregator.told import Told

logger = logging.getLogger(__name__)

LOOKED_AT_BLOCKS = 60
"""Half a minute of embeddings shows what they are."""
MAX_KEPT_DESCRIPTORS = 4
"""Descriptors of different runs kept of one stream, while it is open whose blocks count."""


@dataclass(slots=True)
class StreamRecord:
    """What is known of one stream."""

    ingest: StreamIngest
    descriptors: dict[int, Descriptor] = field(default_factory=dict)
    """What the node's runs said of it, by boot id, the latest last."""
    is_refused: bool = False
    """Whether its encoder is another than its modality's."""
    looks_like: EmbeddingKind | None = None
    """What its embeddings were found to be; None: not looked at yet."""
    is_told_unknown: bool = False
    """Whether it was told that its node has not described it."""

    @property
    def descriptor(self) -> Descriptor | None:
        """What the run that sends the blocks said; None: nothing yet."""
        boot_id = self.ingest.boot_id
        return None if boot_id is None else self.descriptors.get(boot_id)

    @property
    def is_left_out(self) -> bool:
        """Whether its node sends nothing of it because it carries nothing."""
        told = None if self.descriptor is None else self.descriptor.relevance
        return told is not None and not told.is_relevant and told.is_dropped

    @property
    def irrelevant(self) -> str | None:
        """Why it carries nothing, as its node says; None where it carries something."""
        told = None if self.descriptor is None else self.descriptor.relevance
        return None if told is None or told.is_relevant else told.reason


class StreamBook:
    """The streams of a session, in the order they were first seen."""

    def __init__(self, told: Told, *, capacity_hops: int, max_streams: int) -> None:
        """Begin with none.

        Args:
            told: what is said and kept of them.
            capacity_hops: rows kept of each.
            max_streams: more are refused.
        """
        self._told = told
        self._capacity_hops, self._max_streams = capacity_hops, max_streams
        self._records: dict[StreamKey, StreamRecord] = {}

    def __contains__(self, key: StreamKey) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[StreamKey]:
        return iter(self._records)

    def record(self, key: StreamKey) -> StreamRecord | None:
        """A stream's record, made where there is room; None: refused."""
        record = self._records.get(key)
        if record is None:
            if len(self._records) >= self._max_streams:
                limit = self._max_streams
                self._told.drop("too_many_streams", "/".join(key), f"limit max_streams={limit}")
                return None
            record = StreamRecord(StreamIngest(capacity_hops=self._capacity_hops))
            self._records[key] = record
        return record

    def end_of(self, node: str) -> NodeNs | None:
        """Where the newest row of a node's streams ends; None: there is none."""
        ends = [record.ingest.ring.end_node_ns for record in self._of(node)]
        return max((end for end in ends if end is not None), default=None)

    def begin_of(self, node: str) -> NodeNs | None:
        """Where the first row of the node's present run begins; None: there is none."""
        begins = [record.ingest.first_node_ns for record in self._of(node)]
        return min((begin for begin in begins if begin is not None), default=None)

    def tracks(self) -> list[TrackSnapshot]:
        """Every usable stream's rows."""
        return [
            TrackSnapshot(node=node, stream=stream, modality=descriptor.modality, runs=runs)
            for (node, stream), record in sorted(self._records.items())
            if (descriptor := record.descriptor) is not None
            and not record.is_refused
            and (runs := record.ingest.ring.runs())
        ]

    def aligned(self, clocks: ClockBook) -> list[AlignedStream]:
        """Every usable stream with its node's clock."""
        return [
            AlignedStream(
                name=f"{node}/{stream}",
                modality=descriptor.modality,
                ring=record.ingest.ring,
                clock=clocks[node],
                is_left_out=record.is_left_out,
                encoder_sha256=descriptor.original_sha256,
                adapted=descriptor.adapted,
                irrelevant=record.irrelevant,
                looks_like=None if record.looks_like is None else record.looks_like.modality,
            )
            for (node, stream), record in self._records.items()
            if (descriptor := record.descriptor) is not None and not record.is_refused
        ]

    def facts(self) -> dict[str, object]:
        """What is told of each, by node/stream."""
        return {
            f"{node}/{stream}": {
                "blocks": record.ingest.counts.blocks,
                "duplicates": record.ingest.counts.duplicates,
                "late": record.ingest.counts.late,
                "lost": record.ingest.counts.lost,
                "superseded": record.ingest.counts.superseded,
                "refused": record.is_refused,
                "irrelevant": record.irrelevant,
                "looks_like": None if record.looks_like is None else record.looks_like.modality,
            }
            for (node, stream), record in sorted(self._records.items())
        }

    def describe(self, key: StreamKey, payload: bytes, *, reference: str | None) -> bool:
        """Take in what a node says of a stream; False: there is no room for it.

        Raises:
            BadBlock: it cannot be read.
        """
        node, stream = key
        descriptor = parse_descriptor(payload, where=f"descriptor of {node}/{stream}")
        record = self.record(key)
        if record is None:
            return False
        self._told.keep(
            DescriptorRecord(
                node=node,
                stream=stream,
                boot_id=descriptor.boot_id,
                modality=descriptor.modality,
                payload=json.dumps(json.loads(payload)),
            )
        )
        before = record.descriptors.pop(descriptor.boot_id, None)
        if (
            before is not None
            and descriptor.first_seq > before.first_seq
            and descriptor.boot_id == record.ingest.boot_id
        ):
            # Rows of two encoders cannot stand in one ring.
            record.ingest.ring.forget_rows()
            logger.info(
                "encoder changed node=%s stream=%s set=%s", node, stream, descriptor.encoder_set
            )
        record.descriptors[descriptor.boot_id] = descriptor
        while len(record.descriptors) > MAX_KEPT_DESCRIPTORS:
            oldest = next(b for b in record.descriptors if b != record.ingest.boot_id)
            del record.descriptors[oldest]
        self.refuse_mismatches(reference=reference)
        self._tell_relevance(key, before, descriptor)
        return True

    def refuse_mismatches(self, *, reference: str | None) -> None:
        """Refuse every stream whose encoder is not its modality's; take back those that agree."""
        known = {
            key: descriptor
            for key, record in self._records.items()
            if (
                descriptor := record.descriptor or next(reversed(record.descriptors.values()), None)
            )
        }
        wanted_set = expected_set(known, reference=reference)
        of_set = {key: each for key, each in known.items() if each.encoder_set == wanted_set}
        expected = expected_encoders(of_set, reference=reference)
        for key, descriptor in known.items():
            record = self._records[key]
            wanted = expected.get(descriptor.modality)
            is_refused = (
                descriptor.encoder_set != wanted_set or descriptor.original_sha256 != wanted
            )
            if is_refused and not record.is_refused:
                self._tell_refused(key, descriptor, wanted=wanted, wanted_set=wanted_set)
            record.is_refused = is_refused

    def tell_unknown(self, key: StreamKey) -> None:
        """Tell once of a stream that sends and was not described."""
        record = self._records[key]
        if record.descriptor is None and not record.is_told_unknown:
            record.is_told_unknown = True
            logger.warning(
                "block without descriptor node=%s stream=%s; it is kept, and used when the node "
                "has described the stream",
                *key,
            )

    def tell_lost(self, *, now_s: float) -> None:
        """Tell of blocks that were given up since the last call."""
        for (node, stream), record in self._records.items():
            lost = record.ingest.lost(now_s=now_s)
            if lost:
                logger.warning(
                    "blocks lost node=%s stream=%s blocks=%d first_seq=%d total=%d",
                    node,
                    stream,
                    len(lost),
                    lost[0],
                    record.ingest.counts.lost,
                )
                self._told.event("gap", node, stream, blocks=len(lost), first_seq=lost[0])

    def look_at_one(self) -> None:
        """Look at the embeddings of one stream that nobody looked at: what are they?"""
        for (node, stream), record in self._records.items():
            if record.looks_like is not None or record.ingest.counts.blocks < LOOKED_AT_BLOCKS:
                continue
            encoder = None if record.descriptor is None else record.descriptor.original_sha256
            found = recognise_embeddings(record.ingest.ring.runs(), encoder_sha256=encoder)
            record.looks_like = found
            stated = None if record.descriptor is None else record.descriptor.modality
            if found.modality is not None and found.modality != stated:
                logger.warning(
                    "stream is not what it is called node=%s stream=%s stated=%s looks_like=%s",
                    node,
                    stream,
                    stated or "nothing",
                    found.modality,
                )
                self._told.event(
                    "mislabelled",
                    node,
                    stream,
                    stated=stated,
                    looks_like=found.modality,
                    probability=round(found.probability, 4),
                )
            return

    def forget(self, node: str) -> None:
        """A node started anew: rows of its old clock may not be mixed with those of the new."""
        for record in self._of(node):
            if record.ingest.boot_id is not None:
                record.ingest.ring.clear()
                record.looks_like = None

    def _of(self, node: str) -> Iterator[StreamRecord]:
        return (record for (owner, _), record in self._records.items() if owner == node)

    def _tell_relevance(
        self, key: StreamKey, before: Descriptor | None, descriptor: Descriptor
    ) -> None:
        """Tell of a stream that begins or ends to carry nothing."""
        told = descriptor.relevance
        known = None if before is None else before.relevance
        if told is None or told == known or (known is None and told.is_relevant):
            return
        self._told.event(
            "relevance",
            *key,
            state="relevant" if told.is_relevant else "irrelevant",
            reason=told.reason,
            since_node_ns=told.since_node_ns,
            dropped=told.is_dropped,
        )

    def _tell_refused(
        self, key: StreamKey, descriptor: Descriptor, *, wanted: str | None, wanted_set: str
    ) -> None:
        got = descriptor.encoder_sha256
        logger.warning(
            "stream refused node=%s stream=%s modality=%s encoder=%s expected=%s set=%s "
            "expected_set=%s; install the same version of coeval on every node, or let "
            "every node accept models",
            *key,
            descriptor.modality,
            got[:12],
            "none" if wanted is None else wanted[:12],
            descriptor.encoder_set or "unknown",
            wanted_set or "unknown",
        )
        self._told.event(
            "refused",
            *key,
            encoder_sha256=got,
            expected_sha256=wanted,
            encoder_set=descriptor.encoder_set,
            expected_set=wanted_set,
        )
