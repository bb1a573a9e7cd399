"""Hardware and network evidence of a recording: its files in, lines between clocks out."""

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coeval.errors import NotEnoughEvidence
from coeval.evidence import SERVER, UTC, EvidenceKind
from coeval.evidence_wire import EdgeSample, ExchangeSample, PpsSample, TimeSample
from coeval.hardware import SHARED_EDGE_SIGMA_NS, EdgeLine, find_steps, fit_edges, match_edges
from coeval.network import Exchange, fit_exchanges, why_unusable
from coeval.placing import PairLine
from coeval.segments import clock_of, segment_name
from coeval_edge.evidence_tables import read_time_samples
from coeval_edge.recording import Recording

logger = logging.getLogger(__name__)

Samples = Mapping[str, Mapping[str, Sequence[TimeSample]]]
"""What each node measured, by kind."""
KINDS_OF_METHOD = {
    "joint": ("pps", "edges", "exchange"),
    "hardware": ("pps", "edges"),
    "network": ("exchange",),
    "content": (),
}
"""The evidence files that each method listens to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEvidence:
    """What a recording's evidence files say."""

    lines: Sequence[PairLine]
    """Lines between clocks, or segments of clocks that stepped."""
    steps: Mapping[str, Sequence[int]]
    """When nodes' clocks stepped, on the clock before the step, ns; only nodes whose did."""


def evidence_of(recording: Recording, *, method: str) -> FileEvidence:
    """Lines and steps from the evidence files that a method allows.

    Evidence that is too little for a line is left out and said in the log; a file that cannot be
    read is an error.

    Args:
        recording: an open recording.
        method: joint, hardware, network or content.

    Raises:
        BadRecording: a file lacks a column or holds something that is no number.
    """
    samples = {
        node: read_time_samples(recording, node, kinds=KINDS_OF_METHOD[method])
        for node in recording.manifest.nodes
    }
    steps = {node: found for node, each in samples.items() if (found := steps_of(each))}
    cut = {
        segment: kept
        for node, each in samples.items()
        for segment, kept in segments_of(node, each, steps.get(node, ()))
    }
    return FileEvidence(
        lines=[*pps_lines(cut), *edge_lines(cut), *exchange_lines(cut)], steps=steps
    )


def steps_of(measured: Mapping[str, Sequence[TimeSample]]) -> list[int]:
    """When a node's clock stepped by its pulses, or where it has none by its exchanges."""
    paired = [(e.t_node_ns, e.t_utc_ns, e.sigma_ns) for e in pulses(measured)]
    if not paired:
        paired = [
            (e.t_node_ns, e.t_node_ns - e.offset_ns, max(e.delay_ns / 4.0, 1.0))
            for e in exchanges(measured)
            if why_unusable(e) is None
        ]
    paired.sort(key=lambda each: each[1])
    if not paired:
        return []
    t_node, t_other = (np.array([each[k] for each in paired], np.int64) for k in (0, 1))
    found = find_steps(t_node, t_other, np.array([each[2] for each in paired]))
    return [int(t_node[k - 1] + (t_other[k] - t_other[k - 1]) // 2) for k in found]


def segments_of(
    node: str, measured: Mapping[str, Sequence[TimeSample]], steps: Sequence[int]
) -> Iterator[tuple[str, Mapping[str, Sequence[TimeSample]]]]:
    """The samples of each segment of a node's clock."""
    edges = [-math.inf, *steps, math.inf]
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        yield (
            segment_name(node, k),
            {
                kind: [sample for sample in samples if low <= stamp_of(sample) < high]
                for kind, samples in measured.items()
            },
        )


def stamp_of(sample: TimeSample) -> int:
    """When a node measured something, on its clock, ns."""
    return sample.exchange.t_node_ns if isinstance(sample, ExchangeSample) else sample.t_node_ns


def pulses(measured: Mapping[str, Sequence[TimeSample]]) -> list[PpsSample]:
    """The PPS edges among what a node measured."""
    return [each for each in measured.get("pps", ()) if isinstance(each, PpsSample)]


def exchanges(measured: Mapping[str, Sequence[TimeSample]]) -> list[Exchange]:
    """The two-way exchanges among what a node measured."""
    return [e.exchange for e in measured.get("exchange", ()) if isinstance(e, ExchangeSample)]


def pps_lines(samples: Samples) -> Iterator[PairLine]:
    """Each node's line against UTC from its PPS edges."""
    for node, measured in samples.items():
        if "pps" not in measured:
            continue
        edges = pulses(measured)
        try:
            line = fit_edges(
                np.array([edge.t_node_ns for edge in edges], np.int64),
                np.array([edge.t_utc_ns for edge in edges], np.int64),
                np.array([edge.sigma_ns for edge in edges]),
            )
        except NotEnoughEvidence as exc:
            logger.warning("pps evidence left out node=%s reason=%s", node, exc)
            continue
        yield pair_line(UTC, node, "hardware", line)


def edge_lines(samples: Samples) -> Iterator[PairLine]:
    """Lines between nodes that stamped the same electrical line."""
    stamps: dict[str, dict[str, list[int]]] = {}
    for node, measured in samples.items():
        for sample in measured.get("edges", ()):
            if isinstance(sample, EdgeSample):
                stamps.setdefault(sample.line, {}).setdefault(node, []).append(sample.t_node_ns)
    for name, nodes in stamps.items():
        for first, second in itertools.combinations(nodes, 2):
            if clock_of(first) == clock_of(second):
                continue
            try:
                t_first, t_second = match_edges(
                    np.array(nodes[first], np.int64), np.array(nodes[second], np.int64)
                )
                sigma = np.full(len(t_first), SHARED_EDGE_SIGMA_NS)
                line = fit_edges(t_second, t_first, sigma)
            except NotEnoughEvidence as exc:
                logger.warning(
                    "shared edges left out line=%s nodes=%s,%s reason=%s", name, first, second, exc
                )
                continue
            yield pair_line(first, second, "hardware", line)


def exchange_lines(samples: Samples) -> Iterator[PairLine]:
    """Each node's line against the server that answered it."""
    for node, measured in samples.items():
        if "exchange" not in measured:
            continue
        done = exchanges(measured)
        times = np.array([(e.t1_ns, e.t2_ns, e.t3_ns, e.t4_ns) for e in done], np.int64)
        try:
            line = fit_exchanges(*times.reshape(-1, 4).T)
        except NotEnoughEvidence as exc:
            logger.warning("network evidence left out node=%s reason=%s", node, exc)
            continue
        yield pair_line(SERVER, node, "network", line)


def pair_line(first: str, second: str, kind: EvidenceKind, line: EdgeLine) -> PairLine:
    """An edge fit as the solver takes it."""
    return PairLine(
        first=first,
        second=second,
        kind=kind,
        t_second_ns=line.t_ns + line.offset_ns,
        lag_ns=line.offset_ns,
        skew_ppm=line.skew_ppm,
        covariance=line.covariance,
    )
