"""A session as the aggregator sees it: messages in, messages and records out; no threads, no I/O.

Whatever comes in, nothing is raised: what cannot be used is dropped, counted and logged.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from coeval.clock_findings import Finding
from coeval.errors import BadBlock, BadConfig
from coeval.estimates import NodeEstimate, PairEstimate
from coeval.evidence import is_node
from coeval.evidence_wire import decode_evidence
from coeval.hops import HOP_NS
from coeval.interval import NORMAL_95
from coeval.oscillators import CLASSES
from coeval.placing import Contradiction, PairLine
from coeval.recognition.embeddings import EmbeddingKind
from coeval.time import NS_PER_S, NodeNs, RefNs
from coeval.topics import AGGREGATOR, EventKind, check_id, check_node_id
from coeval.wire import HEADER_BYTES
from coeval_aggregator.aligned import AlignedStream, TickSource
from coeval_aggregator.boots import BootGuard
from coeval_aggregator.clocks import ClockBook
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.descriptors import (
    Descriptor,
    StreamKey,
    expected_encoders,
    expected_set,
    parse_boot,
    parse_descriptor,
    parse_object,
)
from coeval_aggregator.estimate import TrackSnapshot
from coeval_aggregator.evidence_book import EvidenceBook
from coeval_aggregator.fusing import AnomalyChange, LiveFusion, load_shipped
from coeval_aggregator.fusion import Fusion
from coeval_aggregator.ingest import StreamIngest, decode_for_alignment
from coeval_aggregator.outgoing import Outgoing
from coeval_aggregator.pair_book import PairBook
from coeval_aggregator.recognise import recognise_embeddings
from coeval_aggregator.store.records import (
    BlockRecord,
    ClockRecord,
    DescriptorRecord,
    EventRecord,
    EvidenceRecord,
    Record,
    TickRecord,
    Timeline,
)
from coeval_aggregator.unsynchronised import SyncWatch, why_unsynchronised

logger = logging.getLogger(__name__)

MOST_NODES = 10_000
"""Nodes beyond this many that send no stream are not heard, nor what kind of clock they have: names
are free to invent."""
LOOKED_AT_BLOCKS = 60
"""Half a minute of embeddings shows what they are."""
TOLD_AT_ONCE = 16
"""Ticks: those of an outage are made up in parts, between which other sessions have their turn."""
MAX_KEPT_DESCRIPTORS = 4
"""Descriptors of different runs kept of one stream, while it is open whose blocks count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSnapshot:
    """What the estimator works on, while the session goes on."""

    reference: str
    """The node whose clock is the timeline."""
    tracks: list[TrackSnapshot]
    """Every usable stream's rows."""
    lines: list[PairLine]
    """What hardware and network say of the nodes' clocks."""
    t_ref_ns: RefNs
    """The newest instant of the timeline: offsets are stated there."""
    pairs: set[tuple[str, str]] | None
    """The pairs of nodes whose content to compare; None: all."""


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


class Session:
    """Every node and stream of one session."""

    def __init__(
        self, config: AggregatorConfig, *, load_fusion: Callable[[], Fusion] = load_shipped
    ) -> None:
        """Begin with no node.

        Args:
            config: what to serve and how.
            load_fusion: opens the fusion network, when the first tick is due.
        """
        self.config = config
        self.counts: Counter[str] = Counter()
        """How many messages came, and why some were dropped."""
        self.reference = config.reference
        self.clocks = ClockBook()
        self.evidence = EvidenceBook(reference=self.reference)
        if self.reference is not None:
            self.clocks.set_reference(self.reference)
        self._topics = config.topics
        self._capacity_hops = round(config.window_s * NS_PER_S) // HOP_NS
        self._streams: dict[StreamKey, StreamRecord] = {}
        self._block_keys: dict[str, StreamKey] = {}
        """Topics of blocks, checked once."""
        self._guards: dict[str, BootGuard] = {}
        self.may_tick = False
        """Whether a tick may be due: the blocks that were waited for came, a stream was described,
        clocks are stated, or there is more to make up."""
        self._told_duplicates: set[tuple[str, int]] = set()
        self._told_unknown: set[str] = set()
        self._num_jumps: dict[str, int] = {}
        self._ticks = TickSource(tick_s=config.tick_s, wait_s=config.tick_wait_s)
        self._fusing = LiveFusion(
            mode=config.fusion, per_day=config.false_alarms_per_day, load=load_fusion
        )
        self._pairs = PairBook()
        self._sync = SyncWatch()
        self._content_facts: dict[tuple[str, str], dict[str, object]] = {}
        """What every pair of nodes last told by content."""
        self._contradictory: set[tuple[str, str, str]] = set()
        self._outbox: list[Outgoing] = []
        self._records: list[Record] = []
        self.stated: Mapping[str, Mapping[str, object]] = {}
        """What was last told of every node's clock; replaced as a whole."""
        self._kept_status: dict[str, tuple[str, int]] = {}
        """Status and instant of every node's clock as last handed to the store."""

    def take_records(self) -> list[Record]:
        """What to keep of what came and was found since the last call."""
        taken, self._records = self._records, []
        return taken

    def take_outbox(self) -> list[Outgoing]:
        """The messages to publish since the last call."""
        taken, self._outbox = self._outbox, []
        return taken

    def handle(self, topic: str, payload: bytes, *, now_s: float) -> None:
        """Take in one message of the session.

        Args:
            topic: where it was published.
            payload: its bytes.
            now_s: the aggregator's monotonic clock.
        """
        known = self._block_keys.get(topic)
        if known is not None:
            try:
                self._handle_block(known, payload, now_s=now_s)
            except BadBlock as exc:
                self._drop("bad_block", "/".join(known), exc)
            return
        address = self._topics.parse(topic)
        if address is None or address.names[:1] == (AGGREGATOR,):
            return
        try:
            match address.kind, address.names:
                case "bin", (node, stream):
                    key = check_node_id(node), check_id(stream, what="stream id")
                    self._handle_block(key, payload, now_s=now_s)
                    if key in self._streams:
                        self._block_keys[topic] = key
                case "descriptor", (node, stream):
                    key = check_node_id(node), check_id(stream, what="stream id")
                    self._handle_descriptor(key, payload)
                case "state", (node,):
                    self._handle_state(node, payload)
                case "time", (node, "evidence"):
                    self._handle_evidence(check_node_id(node), payload, now_s=now_s)
        except BadConfig as exc:
            self._drop("bad_topic", topic, exc)
        except BadBlock as exc:
            kinds = {"bin": "bad_block", "time": "bad_evidence"}
            self._drop(kinds.get(address.kind, "bad_state"), "/".join(address.names), exc)

    def check(self, *, now_s: float) -> None:
        """Look for what shows only with time: gaps, and clocks held over for too long."""
        self.clocks.expire(now_s=now_s)
        self.may_tick = True  # a clock that is no longer known is no longer waited for
        for (node, stream), record in self._streams.items():
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
                self._tell("gap", node, stream, blocks=len(lost), first_seq=lost[0])
        self._look_at_one()
        self._warn_of_unsynchronised()

    def _warn_of_unsynchronised(self) -> None:
        """Tell of every stream that is not known to be on the timeline, and of its return."""
        t_ref_ns, has_reference = self._latest_ref_ns(), self.reference is not None
        num_before = self._sync.num_streams
        changes = self._sync.update(
            {
                (node, stream): why_unsynchronised(
                    self.clocks[node], t_ref_ns=t_ref_ns, has_reference=has_reference
                )
                for node, stream in self._streams
            }
        )
        for node, stream, reason in changes:
            state = "synchronised" if reason is None else "unsynchronised"
            self._tell("unsynchronised", node, stream, state=state, reason=reason)
        if changes or self._sync.num_streams != num_before:
            self._say(self._topics.unsynchronised, self._sync.summary(), retain=True)

    def _look_at_one(self) -> None:
        """Look at the embeddings of one stream that nobody looked at: what are they?"""
        for (node, stream), record in self._streams.items():
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
                self._tell(
                    "mislabelled",
                    node,
                    stream,
                    stated=stated,
                    looks_like=found.modality,
                    probability=round(found.probability, 4),
                )
            return

    def snapshot(self) -> SessionSnapshot | None:
        """What there is to estimate from; None where nothing can be compared."""
        tracks = [
            TrackSnapshot(node=node, stream=stream, modality=descriptor.modality, runs=runs)
            for (node, stream), record in sorted(self._streams.items())
            if (descriptor := record.descriptor) is not None
            and not record.is_refused
            and (runs := record.ingest.ring.runs())
        ]
        measured = self.evidence.nodes()
        if self.reference is None and (tracks or measured):
            self.reference = tracks[0].node if tracks else measured[0]
            self.clocks.set_reference(self.reference)
            self.evidence.set_reference(self.reference)
            self.may_tick = True
            logger.info("reference chosen node=%s; --reference names another", self.reference)
            self._refuse_mismatches()
        nodes = {track.node for track in tracks}
        if self.reference is None or self.reference not in nodes.union(measured):
            return None
        lines = self.evidence.lines(self._latest_ref_ns())
        if len(nodes) < 2 and not lines:
            return None
        return SessionSnapshot(
            reference=self.reference,
            tracks=tracks,
            lines=lines,
            t_ref_ns=self._latest_ref_ns(),
            pairs=self._pairs.choose(sorted(nodes), self.evidence.clocks.filters()),
        )

    def note_pairs(
        self, pairs: Sequence[PairEstimate], contradictions: Sequence[Contradiction]
    ) -> None:
        """Take over what single pairs told, and tell of those that do not fit the others, once."""
        self._pairs.note(pairs)
        for pair in pairs:
            self._content_facts[pair.first, pair.second] = content_facts(pair)
        found = {(each.first, each.second, each.kind): each for each in contradictions}
        for key in found.keys() - self._contradictory:
            each = found[key]
            logger.warning(
                "evidence contradicts first=%s second=%s kind=%s miss_s=%.6f sigmas=%.1f",
                *key,
                each.miss_ns / NS_PER_S,
                each.sigmas,
            )
            node, other = each.second, each.first
            if not is_node(node):
                node, other = other, node
            self._tell(
                "contradiction",
                node,
                against=other,
                kind=each.kind,
                miss_s=(1.0 if node == each.second else -1.0) * each.miss_ns / NS_PER_S,
                sigmas=round(each.sigmas, 1),
            )
        # What was not compared this time contradicts as before.
        compared = {frozenset((pair.first, pair.second)) for pair in pairs}
        self._contradictory = set(found) | {
            key
            for key in self._contradictory
            if key[2] == "content" and frozenset(key[:2]) not in compared
        }

    def apply(self, estimates: Mapping[str, NodeEstimate], *, now_s: float) -> None:
        """Take over what the estimator found, and tell of every node's clock."""
        estimates = {node: self._with_kinds(node, estimate) for node, estimate in estimates.items()}
        for node, estimate in estimates.items():
            if estimate.status == "unrelated" and self.clocks[node].status != "unrelated":
                logger.warning("node unrelated node=%s reference=%s", node, self.reference)
                self._tell("unrelated", node, reference=self.reference)
            if estimate.status == "locked":
                for jump in estimate.jumps[self._num_jumps.get(node, 0) :]:
                    jump_s = jump.delta_ns / NS_PER_S
                    logger.warning("clock jumped node=%s jump_s=%.6f", node, jump_s)
                    self._tell("jump", node, at_s=jump.t_ref_ns / NS_PER_S, jump_s=jump_s)
                self._num_jumps[node] = len(estimate.jumps)
        self.clocks.update(estimates, now_s=now_s)
        self.may_tick = True
        self._keep_clocks(estimates)
        self.tell_clocks(now_s=now_s)

    @property
    def timeline(self) -> Timeline | None:
        """Whose clock the timeline is, in which of its runs; None: not chosen yet."""
        if self.reference is None:
            return None
        guard = self._guards.get(self.reference)
        boot_id = None if guard is None else guard.current
        return Timeline(reference=self.reference, boot_id=boot_id or 0)

    def _keep_clocks(self, estimates: Mapping[str, NodeEstimate]) -> None:
        """Keep the history of the clocks: every estimate that locks, and every change of status."""
        timeline = self.timeline
        if timeline is None:
            return
        t_ref_ns = self._latest_ref_ns()
        begins = [
            first
            for (node, _), record in self._streams.items()
            if node == timeline.reference and (first := record.ingest.first_node_ns) is not None
        ]
        window_ns = self._capacity_hops * HOP_NS
        covers_from_ns = RefNs(max(t_ref_ns - window_ns, min(begins, default=t_ref_ns)))
        stated = {node: (each.status, int(t_ref_ns)) for node, each in estimates.items()}
        for node, estimate in estimates.items():
            before = self._kept_status.get(node)
            if before == stated[node] or (
                estimate.status != "locked" and before is not None and before[0] == estimate.status
            ):
                continue
            self._kept_status[node] = stated[node]
            guard = self._guards.get(node)
            boot_id = None if guard is None else guard.current
            self._keep(
                clock_record(
                    estimate,
                    timeline=timeline,
                    node=node,
                    boot_id=boot_id or 0,
                    t_ref_ns=t_ref_ns,
                    covers_from_ns=covers_from_ns,
                )
            )

    def tell_clocks(self, *, now_s: float) -> None:
        """Tell of every node's clock at the newest instant of the timeline."""
        if self.reference is None:
            return
        t_ref_ns = self._latest_ref_ns()
        stated: dict[str, Mapping[str, object]] = {}
        for node in sorted({node for node, _ in self._streams} | self.clocks.nodes()):
            statement = self.clocks[node].statement(
                node,
                reference=self.reference,
                t_ref_ns=t_ref_ns,
                now_s=now_s,
                oscillators=[self.evidence.clocks.oscillator(c) for c in (node, self.reference)],
            ) | {"utc": self.evidence.utc_of(node), "sources": self.evidence.sources_of(node)}
            stated[node] = statement
            self._say(self._topics.clock(node), statement, retain=True)
        self.stated = stated

    def _latest_ref_ns(self) -> RefNs:
        """The newest instant of the timeline."""
        ends = [
            end
            for (node, _), record in self._streams.items()
            if node == self.reference and (end := record.ingest.ring.end_node_ns) is not None
        ]
        if not ends and (measured_ns := self.evidence.latest_ref_ns()) is not None:
            ends = [NodeNs(measured_ns)]
        return RefNs(max(ends, default=0))

    def _with_kinds(self, node: str, estimate: NodeEstimate) -> NodeEstimate:
        """An estimate that names all kinds of evidence behind its lines."""
        state = self.evidence.clocks.at(node, self._latest_ref_ns())
        if state is None or estimate.line is None:
            return estimate
        kinds = sorted({*estimate.evidence, *state.kinds})
        return replace(estimate, evidence=tuple(kinds))

    @property
    def num_ticks_behind(self) -> int:
        """Ticks that are due and not told yet, as far as was looked."""
        return self._ticks.num_behind

    def tell_ticks(self) -> None:
        """Tell of the aligned rows that are due, TOLD_AT_ONCE at most; `may_tick`: more may be."""
        may_tick, self.may_tick = self.may_tick, False
        if self.reference is None or not may_tick:
            return
        aligned = [
            AlignedStream(
                name=f"{node}/{stream}",
                modality=descriptor.modality,
                ring=record.ingest.ring,
                clock=self.clocks[node],
                is_left_out=record.is_left_out,
                encoder_sha256=descriptor.original_sha256,
                adapted=descriptor.adapted,
                irrelevant=irrelevance_of(record),
                looks_like=None if record.looks_like is None else record.looks_like.modality,
            )
            for (node, stream), record in self._streams.items()
            if (descriptor := record.descriptor) is not None and not record.is_refused
        ]
        ticks = self._ticks.due(aligned, most=TOLD_AT_ONCE)
        self.may_tick = self._ticks.num_behind > 0
        for change in self._fusing.fuse(ticks, aligned):
            self._tell_anomaly(change)
        for tick in ticks:
            self._say(self._topics.aligned, tick, qos=0)
            self._keep_tick(tick)

    def _tell_anomaly(self, change: AnomalyChange) -> None:
        """Tell of an anomaly that begins or ends, at the stream that is least as it should be."""
        logger.warning(
            "anomaly state=%s suspect=%s streams=%s once_in_days=%.3g",
            change.state,
            change.suspect,
            ",".join(change.streams),
            10**change.anomaly,
        )
        self._tell(
            "anomaly",
            *change.suspect.split("/", 1),
            state=change.state,
            streams=list(change.streams),
            anomaly=round(change.anomaly, 3),
            once_in_days=float(f"{10**change.anomaly:.3g}"),
            false_alarms_per_day=self.config.false_alarms_per_day,
            guaranteed_per_day=change.guaranteed_per_day,
            t_ref_ns=int(change.t_ref_ns),
            duration_s=change.duration_s,
        )

    def _keep_tick(self, tick: Mapping[str, object]) -> None:
        """Keep what was fused; the streams' own rows are kept as blocks."""
        timeline, t_ref_ns, anomaly = self.timeline, tick.get("t_ref_ns"), tick.get("anomaly")
        if timeline is None or not isinstance(t_ref_ns, int):
            return
        fused = {k: v for k, v in tick.items() if k not in ("streams", "t_ref", "t_ref_ns")}
        self._keep(
            TickRecord(
                timeline=timeline,
                t_ref_ns=RefNs(t_ref_ns),
                anomaly=float(anomaly) if isinstance(anomaly, int | float) else None,
                payload=json.dumps(fused, allow_nan=False),
            )
        )

    def facts(self) -> dict[str, object]:
        """What the aggregator tells about itself."""
        return {
            "reference": self.reference,
            "counts": dict(self.counts),
            "ticks": {"behind": self._ticks.num_behind, "left_out": self._ticks.num_left_out},
            "time": self.evidence.facts(),
            "pairs": [
                *(line_facts(line) for line in self.evidence.lines(self._latest_ref_ns())),
                *self._content_facts.values(),
            ],
            "streams": {
                f"{node}/{stream}": {
                    "blocks": record.ingest.counts.blocks,
                    "duplicates": record.ingest.counts.duplicates,
                    "late": record.ingest.counts.late,
                    "lost": record.ingest.counts.lost,
                    "superseded": record.ingest.counts.superseded,
                    "refused": record.is_refused,
                    "irrelevant": irrelevance_of(record),
                    "looks_like": None if record.looks_like is None else record.looks_like.modality,
                }
                for (node, stream), record in sorted(self._streams.items())
            },
        }

    def _handle_block(self, key: StreamKey, payload: bytes, *, now_s: float) -> None:
        node, stream = key
        block = decode_for_alignment(payload, where=f"block from {node}/{stream}")
        self.counts["blocks"] += 1
        record = self._record(node, stream)
        if record is None:
            return
        # Also what is not used now: too late, or of a restarted node whose last will is late.
        self._keep(
            BlockRecord(
                node=node,
                stream=stream,
                boot_id=block.boot_id,
                seq=block.seq,
                t0_node_ns=block.t0_node_ns,
                hop_ns=block.hop_ns,
                num_rows=len(block.embeddings),
                dim=block.embeddings.shape[1],
                embeddings=payload[HEADER_BYTES:],
            )
        )
        guard = self._guards.get(node)
        if guard is None:
            guard = self._guards[node] = BootGuard()
        verdict = guard.judge(block.boot_id, now_s=now_s)
        self._tell_duplicates(node, guard)
        if verdict == "rival":
            self.counts["rival_blocks"] += 1
            return
        if verdict == "new":
            self._start_anew(node)
        told = record.descriptors.get(block.boot_id)
        record.ingest.push(block, now_s=now_s, first_seq=0 if told is None else told.first_seq)
        end_ns = record.ingest.ring.end_node_ns
        if end_ns is not None and self._ticks.awaited.has_come(f"{node}/{stream}", end_ns):
            self.may_tick = True
        if verdict == "new":
            self._refuse_mismatches()
        if record.descriptor is None and f"{node}/{stream}" not in self._told_unknown:
            self._told_unknown.add(f"{node}/{stream}")
            logger.warning(
                "block without descriptor node=%s stream=%s; it is kept, and used when the node "
                "has described the stream",
                node,
                stream,
            )

    def _handle_evidence(self, node: str, payload: bytes, *, now_s: float) -> None:
        """What a node measured of its clock; only the run that is heard counts."""
        message = decode_evidence(payload, where=f"evidence of {node}")
        if node not in self._guards and len(self._guards) >= MOST_NODES:
            self._drop("too_many_nodes", node, f"limit {MOST_NODES}")
            return
        self._keep(EvidenceRecord(node=node, boot_id=message.boot_id, payload=payload))
        guard = self._guards.get(node)
        if guard is None:
            guard = self._guards[node] = BootGuard()
        verdict = guard.judge(message.boot_id, now_s=now_s)
        self._tell_duplicates(node, guard)
        if verdict == "rival":
            self.counts["rival_evidence"] += 1
            return
        if verdict == "new":
            self._start_anew(node)
        self.counts["evidence"] += len(message.samples)
        for sample in message.samples:
            for found in self.evidence.take(node, sample):
                self._tell_finding(found)

    def _tell_finding(self, found: Finding) -> None:
        """Tell what evidence showed apart from the estimate."""
        logger.warning(
            "evidence kind=%s clock=%s source=%s size_ns=%s scale=%s",
            found.kind,
            found.clock,
            found.source,
            found.size_ns,
            found.scale,
        )
        size_s = None if found.size_ns is None else found.size_ns / NS_PER_S
        if found.kind == "jump":
            self._tell("jump", found.clock, source=found.source, jump_s=size_s)
            return
        self._tell(
            "source",
            found.clock,
            what=found.kind,
            source=found.source,
            size_s=size_s,
            scale=found.scale,
        )

    def _handle_descriptor(self, key: StreamKey, payload: bytes) -> None:
        node, stream = key
        if not payload:
            return  # a retained message was cleared
        descriptor = parse_descriptor(payload, where=f"descriptor of {node}/{stream}")
        record = self._record(node, stream)
        if record is None:
            return
        self._keep(
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
        self._refuse_mismatches()
        self.may_tick = True
        self._tell_relevance(key, before, descriptor)

    def _tell_relevance(
        self, key: StreamKey, before: Descriptor | None, descriptor: Descriptor
    ) -> None:
        """Tell of a stream that begins or ends to carry nothing."""
        told = descriptor.relevance
        known = None if before is None else before.relevance
        if told is None or told == known or (known is None and told.is_relevant):
            return
        self._tell(
            "relevance",
            *key,
            state="relevant" if told.is_relevant else "irrelevant",
            reason=told.reason,
            since_node_ns=told.since_node_ns,
            dropped=told.is_dropped,
        )

    def _handle_state(self, node: str, payload: bytes) -> None:
        if not payload:
            return
        where = f"state of {node}"
        value = parse_object(payload, where=where)
        boot_id = parse_boot(value.get("boot"), where=where)
        self._note_oscillator(node, value.get("oscillator"), where=where)
        guard = self._guards.get(node)
        if guard is None:
            return
        if value.get("state") == "offline":
            guard.went_offline(boot_id)
        else:
            guard.came_online(boot_id)

    def _note_oscillator(self, node: str, name: object, *, where: str) -> None:
        """Take over what kind of clock a node says that it has.

        Raises:
            BadBlock: there is no such kind.
        """
        if name is None:
            return
        if not isinstance(name, str) or name not in CLASSES:
            raise BadBlock(
                f"{where}: oscillator must be one of {', '.join(CLASSES)}, got {name!r:.60}"
            )
        if len(self.evidence.clocks.known_oscillators) < MOST_NODES:
            self.evidence.clocks.set_oscillator(check_node_id(node), CLASSES[name])

    def _record(self, node: str, stream: str) -> StreamRecord | None:
        """The stream's record, made where there is room; None: refused."""
        record = self._streams.get((node, stream))
        if record is None:
            if len(self._streams) >= self.config.max_streams:
                limit = self.config.max_streams
                self._drop("too_many_streams", f"{node}/{stream}", f"limit max_streams={limit}")
                return None
            record = StreamRecord(StreamIngest(capacity_hops=self._capacity_hops))
            self._streams[node, stream] = record
        return record

    def _start_anew(self, node: str) -> None:
        """A node's new run has a new clock: nothing of the old one may be mixed with it."""
        for (owner, _), record in self._streams.items():
            if owner == node and record.ingest.boot_id is not None:
                record.ingest.ring.clear()
                record.looks_like = None
        if node == self.reference:
            self._num_jumps.clear()
            self._ticks.restart()
            self._fusing.restart()
        self._num_jumps.pop(node, None)
        self._kept_status.pop(node, None)
        self.clocks.forget(node)
        self.evidence.forget(node)
        self._pairs.forget(node)
        self._content_facts = {
            pair: facts for pair, facts in self._content_facts.items() if node not in pair
        }
        logger.info("node runs node=%s", node)

    def _tell_duplicates(self, node: str, guard: BootGuard) -> None:
        for boot_id in guard.duplicates:
            if (node, boot_id) in self._told_duplicates or len(self._told_duplicates) > 1000:
                continue
            self._told_duplicates.add((node, boot_id))
            used, other = f"{guard.current or 0:016x}", f"{boot_id:016x}"
            logger.warning(
                "two nodes of one id node=%s used_boot=%s ignored_boot=%s; give one another id",
                node,
                used,
                other,
            )
            self._tell("duplicate", node, used_boot=used, ignored_boot=other)

    def _refuse_mismatches(self) -> None:
        """Refuse every stream whose encoder is not its modality's; take back those that agree."""
        known = {
            key: descriptor
            for key, record in self._streams.items()
            if (
                descriptor := record.descriptor or next(reversed(record.descriptors.values()), None)
            )
        }
        wanted_set = expected_set(known, reference=self.reference)
        of_set = {key: each for key, each in known.items() if each.encoder_set == wanted_set}
        expected = expected_encoders(of_set, reference=self.reference)
        for (node, stream), descriptor in known.items():
            record = self._streams[node, stream]
            wanted = expected.get(descriptor.modality)
            is_refused = (
                descriptor.encoder_set != wanted_set or descriptor.original_sha256 != wanted
            )
            if is_refused and not record.is_refused:
                got = descriptor.encoder_sha256
                logger.warning(
                    "stream refused node=%s stream=%s modality=%s encoder=%s expected=%s set=%s "
                    "expected_set=%s; install the same version of coeval on every node, or let "
                    "every node accept models",
                    node,
                    stream,
                    descriptor.modality,
                    got[:12],
                    "none" if wanted is None else wanted[:12],
                    descriptor.encoder_set or "unknown",
                    wanted_set or "unknown",
                )
                self._tell(
                    "refused",
                    node,
                    stream,
                    encoder_sha256=got,
                    expected_sha256=wanted,
                    encoder_set=descriptor.encoder_set,
                    expected_set=wanted_set,
                )
            record.is_refused = is_refused

    def _drop(self, kind: str, whose: str, reason: object) -> None:
        """Count what is dropped; log the first, the second, the fourth … of a kind."""
        self.counts[kind] += 1
        total = self.counts[kind]
        if total & (total - 1) == 0:
            logger.warning(
                "dropped kind=%s from=%.100r total=%d reason=%s", kind, whose, total, reason
            )

    def _tell(
        self, event: EventKind, node: str, stream: str | None = None, **facts: object
    ) -> None:
        levels = (node,) if stream is None else (node, stream)
        named = {"event": event, "node": node} | ({} if stream is None else {"stream": stream})
        self._say(self._topics.event(event, *levels), named | facts)
        timeline = self.timeline
        self._keep(
            EventRecord(
                kind=event,
                node=node,
                stream=stream,
                timeline=timeline,
                t_ref_ns=None if timeline is None else self._latest_ref_ns(),
                payload=json.dumps(named | facts, allow_nan=False),
            )
        )

    def _keep(self, record: Record) -> None:
        if not self.config.store.is_none:
            self._records.append(record)

    def _say(
        self, topic: str, value: Mapping[str, object], *, retain: bool = False, qos: int = 1
    ) -> None:
        payload = json.dumps(value, allow_nan=False).encode()
        self._outbox.append(Outgoing(topic=topic, payload=payload, retain=retain, qos=qos))


def irrelevance_of(record: StreamRecord) -> str | None:
    """Why a stream carries nothing, as its node says; None where it carries something."""
    told = None if record.descriptor is None else record.descriptor.relevance
    return None if told is None or told.is_relevant else told.reason


def line_facts(line: PairLine) -> dict[str, object]:
    """What hardware or network says between two clocks, as it is told."""
    ci95_s = NORMAL_95 * math.sqrt(float(line.covariance[0, 0])) / NS_PER_S
    return {
        "first": line.first,
        "second": line.second,
        "kind": line.kind,
        "accepted": True,
        "ci95_s": ci95_s,
    }


def content_facts(pair: PairEstimate) -> dict[str, object]:
    """What content says between two nodes, as it is told; without a line, no interval."""
    ci95_s = None
    if pair.fit is not None:
        ci95_s = NORMAL_95 * math.sqrt(float(pair.fit.covariance[0, 0])) / NS_PER_S
    return {
        "first": pair.first,
        "second": pair.second,
        "kind": "content",
        "accepted": pair.accepted,
        "ci95_s": ci95_s,
    }


def clock_record(
    estimate: NodeEstimate,
    *,
    timeline: Timeline,
    node: str,
    boot_id: int,
    t_ref_ns: RefNs,
    covers_from_ns: RefNs,
) -> ClockRecord:
    """An estimate as it is kept; without a line, only what it says of the node.

    Args:
        estimate: what was found; offset node − reference, positive: the node is fast.
        timeline: against which clock.
        node: the node.
        boot_id: the node's run.
        t_ref_ns: the newest instant of the timeline.
        covers_from_ns: where the material begins.
    """
    told = ClockRecord(
        timeline=timeline,
        node=node,
        boot_id=boot_id,
        status=estimate.status,
        t_ref_ns=t_ref_ns,
        covers_from_ns=covers_from_ns,
        evidence=estimate.evidence,
    )
    line, ci95_ns, skew_ci95_ppb = estimate.line, estimate.ci95_ns, estimate.skew_ci95_ppb
    if line is None or ci95_ns is None or skew_ci95_ppb is None:
        return told
    return replace(
        told,
        t_ref_ns=line.t0_ref_ns,
        offset_ns=line.offset_ns,
        skew_ppb=line.skew_ppb,
        var_offset_ns2=(ci95_ns / NORMAL_95) ** 2,
        cov_offset_skew=estimate.cov_offset_skew,
        var_skew_ppb2=(skew_ci95_ppb / NORMAL_95) ** 2,
        jumps=tuple((jump.t_ref_ns, jump.delta_ns) for jump in estimate.jumps),
    )
