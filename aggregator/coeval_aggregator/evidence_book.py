"""From what nodes measured of their clocks to evidence, and to lines for the joint estimate.

In: samples of `time/{node}/evidence`. Out: findings as they come, and one line a node that sums up
all hardware and network evidence. Sign: offset = node − reference; positive: the node is fast.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import Iterator

import numpy as np

from coeval.clock_findings import Finding
from coeval.errors import NotEnoughEvidence
from coeval.evidence import UTC, Evidence, is_node
from coeval.evidence_wire import (
    EdgeSample,
    ExchangeSample,
    PpsSample,
    StatementSample,
    TimeSample,
)
from coeval.hardware import match_edges
from coeval.interval import NORMAL_95
from coeval.network import ExchangeFilter
from coeval.placing import PairLine
from coeval.session_clocks import SessionClocks
from coeval.time import NS_PER_S

logger = logging.getLogger(__name__)

PPS_BIAS_NS = 1_000.0
"""Kernel interrupt latency that all edges of a node share (1 σ)."""
EDGE_BIAS_NS = 3_000.0
"""The same of two nodes that stamp one line, one of them under load."""
KEPT_EDGES = 64
LEAST_EDGES = 6
"""So many edges of a line on either node before its offset is looked for without knowing any."""
TRY_EVERY = 4
"""… and again after so many more."""
NEAR_NS = 2_000_000
"""An edge that two nodes stamped is the same if their clocks make it so to within this."""
MOST_CLOCKS = 512
"""Clocks beyond this many are refused: memory and time grow with their square."""
MOST_SOURCES = 2048
"""The same of sources; 64 nodes that stamp one line make 2016."""
MOST_PATHS = 10_000
"""Exchange paths, nodes' lines and nodes' sources beyond this many are refused: names are free to
invent."""


class EvidenceBook:
    """Everything hardware and network say of a session's clocks."""

    def __init__(self, *, reference: str | None) -> None:
        self.counts: Counter[str] = Counter()
        """Samples by what they were, and those refused."""
        self.clocks = SessionClocks(reference=reference or "")
        """The joint filter."""
        self._paths: dict[tuple[str, str], ExchangeFilter] = {}
        self._edges: dict[str, dict[str, deque[EdgeSample]]] = {}
        """The last edges of each line, by the nodes that stamped them."""
        self._num_node_lines = 0
        """How many those are, of all lines together."""
        self._last_ns: dict[tuple[str, str, str], int] = {}
        self._tries: Counter[tuple[str, str, str]] = Counter()

    def set_reference(self, node: str) -> None:
        """Say which node's clock is the timeline."""
        self.clocks.reference = node

    def forget(self, node: str) -> None:
        """A node's clock started anew."""
        self.clocks.forget(node)
        self._paths = {path: kept for path, kept in self._paths.items() if node not in path}
        self._last_ns = {key: t for key, t in self._last_ns.items() if key[0] != node}
        for nodes in self._edges.values():
            self._num_node_lines -= nodes.pop(node, None) is not None
        self._edges = {line: nodes for line, nodes in self._edges.items() if nodes}
        self._tries = Counter({key: n for key, n in self._tries.items() if node not in key[1:]})

    def take(self, node: str, sample: TimeSample) -> list[Finding]:
        """Take in what a node measured; what it showed apart from the estimate."""
        findings: list[Finding] = []
        for evidence in self._evidence(node, sample):
            if self._is_one_too_many(evidence):
                self.counts["refused"] += 1
                continue
            findings += self.clocks.push(evidence)
        return findings

    def _is_one_too_many(self, evidence: Evidence) -> bool:
        """Whether it tells of another clock, or source, than memory is there for."""
        sources = self.clocks.sources
        if evidence.source not in sources and len(sources) >= MOST_SOURCES:
            return True
        known = {clock for filter_ in self.clocks.groups for clock in filter_.clocks}
        named = known | {evidence.first, evidence.second}
        return len(named) > max(len(known), MOST_CLOCKS)

    def lines(self, t_ref_ns: int) -> list[PairLine]:
        """What is known of every node tied to the reference, as lines that hold at an instant."""
        reference = self.clocks.reference
        found = []
        for filter_ in self.clocks.groups:
            if reference not in filter_:
                continue
            for clock in filter_.clocks:
                state = self.clocks.at(clock, t_ref_ns)
                if state is None or not state.is_locked or not is_node(clock):
                    continue
                # The line's interval is to be the state's, which no normal error made.
                sigma_ns = state.ci95_ns / NORMAL_95
                scale = np.diag([sigma_ns / math.sqrt(state.covariance[0, 0]), 1e-3])
                found.append(
                    PairLine(
                        first=reference,
                        second=clock,
                        kind="hardware" if "hardware" in state.kinds else "network",
                        t_second_ns=t_ref_ns + state.offset_ns,
                        lag_ns=state.offset_ns,
                        skew_ppm=state.skew_ppb * 1e-3,
                        covariance=scale @ state.covariance @ scale,
                    )
                )
        return found

    def nodes(self) -> list[str]:
        """The nodes of which something was measured."""
        clocks = {clock for filter_ in self.clocks.groups for clock in filter_.clocks}
        return sorted(filter(is_node, clocks))

    def latest_ref_ns(self) -> int | None:
        """The latest instant of the reference's clock that was measured; None: none was."""
        reference = self.clocks.reference
        for filter_ in self.clocks.groups:
            if reference in filter_:
                return filter_.t_root_ns + filter_.whole_offset(reference)
        return None

    def sources_of(self, node: str) -> dict[str, dict[str, object]]:
        """What was learnt of the sources that tell of a node's clock.

        `scale` is real over claimed scatter; a source that is not `trusted` changed its mind too
        often to be listened to.
        """
        now_ns = {clock: f.t_root_ns for f in self.clocks.groups for clock in f.clocks}
        return {
            name: {
                "scale": round(trust.scale, 2),
                "trusted": not trust.is_distrusted(now_ns.get(node, -math.inf)),
            }
            for name, trust in sorted(self.clocks.sources.items())
            if node in trust.clocks
        }

    def facts(self) -> dict[str, object]:
        """What the aggregator tells of its evidence; `utc`: reference node − UTC."""
        return {
            "samples": dict(self.counts),
            "filter": dict(self.clocks.counts),
            "utc": self.utc_of(self.clocks.reference),
        }

    def utc_of(self, node: str) -> dict[str, float] | None:
        """A node's clock − UTC at the latest instant, and the 95% half-width; None: nothing ties
        the two."""
        utc = self.clocks.difference(UTC, node)
        if utc is None:
            return None
        return {"offset_s": utc[0] / NS_PER_S, "ci95_s": utc[1] / NS_PER_S}

    def _evidence(self, node: str, sample: TimeSample) -> Iterator[Evidence]:
        match sample:
            case PpsSample() if self._is_new(node, "pps", sample.t_node_ns, by=sample.by):
                yield Evidence(
                    kind="hardware",
                    source=f"{sample.by}/{node}",
                    first=UTC,
                    second=node,
                    t_second_ns=sample.t_node_ns,
                    offset_ns=sample.t_node_ns - sample.t_utc_ns,
                    sigma_ns=sample.sigma_ns,
                    bias_sigma_ns=math.hypot(PPS_BIAS_NS, sample.bias_sigma_ns),
                )
            case StatementSample() if self._is_new(
                node, "statement", sample.t_node_ns, by=sample.by
            ):
                yield Evidence(
                    kind="network",
                    source=f"{sample.by}/{node}",
                    first=sample.of,
                    second=node,
                    t_second_ns=sample.t_node_ns,
                    offset_ns=sample.t_node_ns - sample.t_utc_ns,
                    sigma_ns=sample.sigma_ns,
                    bias_sigma_ns=sample.bias_sigma_ns,
                    is_bias_bounded=True,
                )
            case ExchangeSample():
                yield from self._exchanged(node, sample)
            case EdgeSample():
                yield from self._edge(node, sample)

    def _is_new(self, node: str, kind: str, t_node_ns: int, *, by: str = "") -> bool:
        """Whether a sample comes after the last one: a broker may deliver one twice."""
        key = (node, kind, by)
        if key not in self._last_ns and len(self._last_ns) >= MOST_PATHS:
            self.counts["refused"] += 1
            return False
        is_new = t_node_ns > self._last_ns.get(key, t_node_ns - 1)
        self.counts[kind if is_new else "backwards"] += 1
        if is_new:
            self._last_ns[key] = t_node_ns
        return is_new

    def _exchanged(self, node: str, sample: ExchangeSample) -> Iterator[Evidence]:
        path = (sample.other, node)
        if sample.other == node or (path not in self._paths and len(self._paths) >= MOST_PATHS):
            self.counts["refused"] += 1
            return
        self.counts["exchange"] += 1
        if path not in self._paths:
            self._paths[path] = ExchangeFilter(node=node, other=sample.other)
        evidence = self._paths[path].push(sample.exchange)
        if evidence is not None:
            yield evidence

    def _edge(self, node: str, sample: EdgeSample) -> Iterator[Evidence]:
        """Pair an edge with those that other nodes stamped on the same line."""
        nodes = self._edges.get(sample.line, {})
        if node not in nodes:
            if self._num_node_lines >= MOST_PATHS:
                self.counts["refused"] += 1
                return
            self._edges[sample.line] = nodes
            nodes[node] = deque(maxlen=KEPT_EDGES)
            self._num_node_lines += 1
        self.counts["edge"] += 1
        own = nodes[node]
        if own and sample.t_node_ns <= own[-1].t_node_ns:
            self.counts["backwards"] += 1
            return
        own.append(sample)
        for other, theirs in nodes.items():
            if other == node or not theirs:
                continue
            known = self.clocks.difference(other, node)
            if known is not None and known[1] < NEAR_NS:
                partner = min(theirs, key=lambda e: abs(sample.t_node_ns - known[0] - e.t_node_ns))
                if abs(sample.t_node_ns - known[0] - partner.t_node_ns) <= NEAR_NS:
                    yield edge_evidence(other, node, partner, sample)
            elif len(own) >= LEAST_EDGES and len(theirs) >= LEAST_EDGES:
                yield from self._first_match(other, node, theirs, own)

    def _first_match(
        self, other: str, node: str, theirs: deque[EdgeSample], own: deque[EdgeSample]
    ) -> Iterator[Evidence]:
        """Look for the offset at which two nodes' edges of a line are the same."""
        line = own[-1].line
        self._tries[line, other, node] += 1
        if self._tries[line, other, node] % TRY_EVERY != 1:
            return
        try:
            t_other, t_node = match_edges(
                np.array([edge.t_node_ns for edge in theirs], np.int64),
                np.array([edge.t_node_ns for edge in own], np.int64),
            )
        except NotEnoughEvidence as exc:
            logger.debug("edges not matched line=%s nodes=%s,%s reason=%s", line, other, node, exc)
            return
        by_other = {edge.t_node_ns: edge for edge in theirs}
        by_node = {edge.t_node_ns: edge for edge in own}
        for first, second in zip(t_other.tolist(), t_node.tolist(), strict=True):
            yield edge_evidence(other, node, by_other[first], by_node[second])


def edge_evidence(first: str, second: str, one: EdgeSample, same: EdgeSample) -> Evidence:
    """One edge that two nodes stamped."""
    return Evidence(
        kind="hardware",
        source=f"edge:{same.line}/{first}-{second}",
        first=first,
        second=second,
        t_second_ns=same.t_node_ns,
        offset_ns=same.t_node_ns - one.t_node_ns,
        sigma_ns=math.hypot(one.sigma_ns, same.sigma_ns),
        bias_sigma_ns=EDGE_BIAS_NS,
    )
