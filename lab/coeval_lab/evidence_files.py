"""Hardware and network evidence of a recording: its files in, lines between clocks out."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from coeval.errors import NotEnoughEvidence
from coeval.evidence import SERVER, UTC, EvidenceKind
from coeval.evidence_wire import EdgeSample, ExchangeSample, PpsSample, TimeSample
from coeval.hardware import SHARED_EDGE_SIGMA_NS, EdgeLine, fit_edges, match_edges
from coeval.network import fit_exchanges
from coeval.placing import PairLine
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


def evidence_of(recording: Recording, *, method: str) -> list[PairLine]:
    """Lines from the evidence files that a method allows.

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
    return [*pps_lines(samples), *edge_lines(samples), *exchange_lines(samples)]


def pps_lines(samples: Samples) -> Iterator[PairLine]:
    """Each node's line against UTC from its PPS edges."""
    for node, measured in samples.items():
        if "pps" not in measured:
            continue
        edges = [sample for sample in measured["pps"] if isinstance(sample, PpsSample)]
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
        done = [each.exchange for each in measured["exchange"] if isinstance(each, ExchangeSample)]
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
