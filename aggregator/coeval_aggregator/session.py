"""A session as the aggregator sees it: messages in, messages and records out; no threads, no I/O.

Whatever comes in, nothing is raised: what cannot be used is dropped, counted and logged. Each
concern has a book of its own; here is what a message or an estimate means for all of them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from coeval.clock_findings import Finding
from coeval.errors import BadBlock, BadConfig
from coeval.estimates import NodeEstimate, PairEstimate
from coeval.evidence_wire import decode_evidence
from coeval.hops import HOP_NS
from coeval.oscillators import CLASSES
from coeval.placing import Contradiction, PairLine
from coeval.time import NS_PER_S, RefNs
from coeval.topics import AGGREGATOR, check_id, check_node_id
from coeval.wire import HEADER_BYTES
from coeval_aggregator.boots import Verdict
from coeval_aggregator.clock_log import ClockLog
from coeval_aggregator.clocks import ClockBook
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.descriptors import StreamKey, parse_boot, parse_object
from coeval_aggregator.estimate import TrackSnapshot
from coeval_aggregator.evidence_book import EvidenceBook
from coeval_aggregator.fusing import load_shipped
from coeval_aggregator.fusion import Fusion
from coeval_aggregator.ingest import decode_for_alignment
from coeval_aggregator.node_runs import MOST_NODES, NodeRuns
from coeval_aggregator.pair_book import PairBook
from coeval_aggregator.pair_findings import PairFindings
from coeval_aggregator.store.records import BlockRecord, EvidenceRecord, Timeline
from coeval_aggregator.stream_book import StreamBook
from coeval_aggregator.told import Moment, Told
from coeval_aggregator.told_ticks import ToldTicks
from coeval_aggregator.unsynchronised import SyncWatch, why_unsynchronised

logger = logging.getLogger(__name__)


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
        self.reference = config.reference
        self.clocks = ClockBook()
        self.evidence = EvidenceBook(reference=self.reference)
        if self.reference is not None:
            self.clocks.set_reference(self.reference)
        self.told = Told(
            topics=config.topics, keeps=not config.store.is_none, newest=lambda: self._newest
        )
        """What is to be published and kept."""
        self._window_hops = round(config.window_s * NS_PER_S) // HOP_NS
        self._streams = StreamBook(
            self.told, capacity_hops=self._window_hops, max_streams=config.max_streams
        )
        self._block_keys: dict[str, StreamKey] = {}
        """Topics of blocks, checked once."""
        self._runs = NodeRuns(self.told)
        self._ticks = ToldTicks(self.told, config, load_fusion=load_fusion)
        self.may_tick = False
        """Whether a tick may be due: the blocks that were waited for came, a stream was described,
        clocks are stated, or there is more to make up."""
        self._clock_log = ClockLog(self.told, self._runs)
        self._pairs = PairBook()
        self._pair_findings = PairFindings(self.told)
        self._sync = SyncWatch()
        self.stated: Mapping[str, Mapping[str, object]] = {}
        """What was last told of every node's clock; replaced as a whole."""

    # What comes in.

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
                self.told.drop("bad_block", "/".join(known), exc)
            return
        address = self.told.topics.parse(topic)
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
            self.told.drop("bad_topic", topic, exc)
        except BadBlock as exc:
            kinds = {"bin": "bad_block", "time": "bad_evidence"}
            self.told.drop(kinds.get(address.kind, "bad_state"), "/".join(address.names), exc)

    def _handle_block(self, key: StreamKey, payload: bytes, *, now_s: float) -> None:
        node, stream = key
        block = decode_for_alignment(payload, where=f"block from {node}/{stream}")
        self.told.counts["blocks"] += 1
        record = self._streams.record(key)
        if record is None:
            return
        # Also what is not used now: too late, or of a restarted node whose last will is late.
        self.told.keep(
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
        verdict = self._hear(node, block.boot_id, now_s=now_s)
        if verdict == "rival":
            self.told.counts["rival_blocks"] += 1
            return
        told = record.descriptors.get(block.boot_id)
        record.ingest.push(block, now_s=now_s, first_seq=0 if told is None else told.first_seq)
        end_ns = record.ingest.ring.end_node_ns
        if end_ns is not None and self._ticks.source.awaited.has_come(f"{node}/{stream}", end_ns):
            self.may_tick = True
        if verdict == "new":
            self._streams.refuse_mismatches(reference=self.reference)
        self._streams.tell_unknown(key)

    def _handle_descriptor(self, key: StreamKey, payload: bytes) -> None:
        if not payload:
            return  # a retained message was cleared
        if self._streams.describe(key, payload, reference=self.reference):
            self.may_tick = True

    def _handle_state(self, node: str, payload: bytes) -> None:
        if not payload:
            return
        where = f"state of {node}"
        value = parse_object(payload, where=where)
        boot_id = parse_boot(value.get("boot"), where=where)
        self._note_oscillator(node, value.get("oscillator"), where=where)
        self._runs.note_state(node, boot_id, is_offline=value.get("state") == "offline")

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
        if len(self.evidence.clocks.groups.oscillators) < MOST_NODES:
            self.evidence.clocks.groups.set_oscillator(check_node_id(node), CLASSES[name])

    def _handle_evidence(self, node: str, payload: bytes, *, now_s: float) -> None:
        """What a node measured of its clock; only the run that is heard counts."""
        message = decode_evidence(payload, where=f"evidence of {node}")
        if not self._runs.has_room_for(node):
            self.told.drop("too_many_nodes", node, f"limit {MOST_NODES}")
            return
        self.told.keep(EvidenceRecord(node=node, boot_id=message.boot_id, payload=payload))
        if self._hear(node, message.boot_id, now_s=now_s) == "rival":
            self.told.counts["rival_evidence"] += 1
            return
        self.told.counts["evidence"] += len(message.samples)
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
            self.told.event("jump", found.clock, source=found.source, jump_s=size_s)
            return
        self.told.event(
            "source",
            found.clock,
            what=found.kind,
            source=found.source,
            size_s=size_s,
            scale=found.scale,
        )

    def _hear(self, node: str, boot_id: int, *, now_s: float) -> Verdict:
        """Note a sign of life of a node's run, and begin anew where it is a new one."""
        verdict = self._runs.judge(node, boot_id, now_s=now_s)
        if verdict == "new":
            self._start_anew(node)
        return verdict

    def _start_anew(self, node: str) -> None:
        """A node's new run has a new clock: nothing of the old one may be mixed with it."""
        self._streams.forget(node)
        if node == self.reference:
            self._clock_log.forget_jumps()
            self._ticks.restart()
        self._clock_log.forget(node)
        self.clocks.forget(node)
        self.evidence.forget(node)
        self._pairs.forget(node)
        self._pair_findings.forget(node)
        logger.info("node runs node=%s", node)

    # What shows with time.

    def check(self, *, now_s: float) -> None:
        """Look for what shows only with time: gaps, and clocks held over for too long."""
        self.clocks.expire(now_s=now_s)
        self.may_tick = True  # a clock that is no longer known is no longer waited for
        self._streams.tell_lost(now_s=now_s)
        self._streams.look_at_one()
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
            self.told.event("unsynchronised", node, stream, state=state, reason=reason)
        if changes or self._sync.num_streams != num_before:
            self.told.say(self.told.topics.unsynchronised, self._sync.summary(), retain=True)

    @property
    def num_ticks_behind(self) -> int:
        """Ticks that are due and not told yet, as far as was looked."""
        return self._ticks.source.num_behind

    def tell_ticks(self) -> None:
        """Tell of the aligned rows that are due, some at once; `may_tick`: more may be."""
        may_tick, self.may_tick = self.may_tick, False
        if self.reference is None or not may_tick:
            return
        self._ticks.tell(self._streams.aligned(self.clocks), timeline=self.timeline)
        self.may_tick = self.num_ticks_behind > 0

    # What is estimated.

    def snapshot(self) -> SessionSnapshot | None:
        """What there is to estimate from; None where nothing can be compared."""
        tracks = self._streams.tracks()
        measured = self.evidence.nodes()
        if self.reference is None and (tracks or measured):
            self._choose_reference(tracks[0].node if tracks else measured[0])
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
            pairs=self._pairs.choose(sorted(nodes), list(self.evidence.clocks.groups)),
        )

    def _choose_reference(self, node: str) -> None:
        self.reference = node
        self.clocks.set_reference(node)
        self.evidence.set_reference(node)
        self.may_tick = True
        logger.info("reference chosen node=%s; --reference names another", node)
        self._streams.refuse_mismatches(reference=node)

    def note_pairs(
        self, pairs: Sequence[PairEstimate], contradictions: Sequence[Contradiction]
    ) -> None:
        """Take over what single pairs told."""
        self._pairs.note(pairs)
        self._pair_findings.note(pairs, contradictions)

    def apply(self, estimates: Mapping[str, NodeEstimate], *, now_s: float) -> None:
        """Take over what the estimator found, and tell of every node's clock."""
        estimates = {node: self._with_kinds(node, estimate) for node, estimate in estimates.items()}
        self._clock_log.tell_changes(estimates, clocks=self.clocks, reference=self.reference)
        self.clocks.update(estimates, now_s=now_s)
        self.may_tick = True
        newest = self._newest
        if newest is not None:
            begin_ns = self._streams.begin_of(newest.timeline.reference)
            window_ns = self._window_hops * HOP_NS
            covers_from_ns = max(
                newest.t_ref_ns - window_ns, newest.t_ref_ns if begin_ns is None else begin_ns
            )
            self._clock_log.keep(estimates, at=newest, covers_from_ns=RefNs(covers_from_ns))
        self.tell_clocks(now_s=now_s)

    def _with_kinds(self, node: str, estimate: NodeEstimate) -> NodeEstimate:
        """An estimate that names all kinds of evidence behind its lines."""
        state = self.evidence.clocks.at(node, self._latest_ref_ns())
        if state is None or estimate.line is None:
            return estimate
        kinds = sorted({*estimate.evidence, *state.kinds})
        return replace(estimate, evidence=tuple(kinds))

    # What is told.

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
                oscillators=[
                    self.evidence.clocks.groups.oscillator(c) for c in (node, self.reference)
                ],
            ) | {"utc": self.evidence.utc_of(node), "sources": self.evidence.sources_of(node)}
            stated[node] = statement
            self.told.say(self.told.topics.clock(node), statement, retain=True)
        self.stated = stated

    def facts(self) -> dict[str, object]:
        """What the aggregator tells about itself."""
        return {
            "reference": self.reference,
            "counts": dict(self.told.counts),
            "ticks": {
                "behind": self.num_ticks_behind,
                "left_out": self._ticks.source.num_left_out,
            },
            "time": self.evidence.facts(),
            "pairs": self._pair_findings.facts(self.evidence.lines(self._latest_ref_ns())),
            "streams": self._streams.facts(),
        }

    @property
    def timeline(self) -> Timeline | None:
        """Whose clock the timeline is, in which of its runs; None: not chosen yet."""
        if self.reference is None:
            return None
        return Timeline(reference=self.reference, boot_id=self._runs.current(self.reference))

    @property
    def _newest(self) -> Moment | None:
        """The newest instant of the timeline; None: it is not chosen yet."""
        timeline = self.timeline
        if timeline is None:
            return None
        return Moment(timeline=timeline, t_ref_ns=self._latest_ref_ns())

    def _latest_ref_ns(self) -> RefNs:
        """The newest instant of the timeline; 0: there is none."""
        end_ns = None if self.reference is None else self._streams.end_of(self.reference)
        if end_ns is not None:
            return RefNs(int(end_ns))
        return RefNs(self.evidence.latest_ref_ns() or 0)
