"""Hardware and network evidence of a recording: its files in, lines between clocks out."""

import itertools
import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording, NotEnoughEvidence
from coeval.evidence import SERVER, UTC, EvidenceKind
from coeval.hardware import SHARED_EDGE_SIGMA_NS, EdgeLine, fit_edges, match_edges
from coeval.network import fit_exchanges
from coeval.placing import PairLine
from coeval.samples import IntArray
from coeval.time import NS_PER_S
from coeval_edge.recording import Recording
from coeval_edge.tables import Table

logger = logging.getLogger(__name__)

KINDS = ("pps", "exchange", "edges")
"""What a node's `evidence` may hold; another kind is left out and said."""
FINEST_SIGMA_S, COARSEST_SIGMA_S = 1e-10, 1.0
"""What a PPS edge can be said to err by: stamps are whole ns, and edges a second apart."""


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
    for node in recording.manifest.nodes.values():
        for kind in sorted(set(node.evidence) - set(KINDS)):
            logger.warning(
                "evidence left out node=%s kind=%s reason=unknown kind; known are %s",
                node.id,
                kind,
                ", ".join(KINDS),
            )
    lines: list[PairLine] = []
    if method in ("joint", "hardware"):
        lines += [*pps_lines(recording), *edge_lines(recording)]
    if method in ("joint", "network"):
        lines += exchange_lines(recording)
    return lines


def read_stamps(recording: Recording, file: str, columns: tuple[str, ...]) -> list[IntArray]:
    """Columns of seconds as ns, each of shape (n,)."""
    table = Table(recording.path(file), where=file, required=columns)
    blocks = list(table.blocks())
    return [
        np.concatenate([np.zeros(0, np.int64), *(block.stamps(column) for block in blocks)])
        for column in columns
    ]


def read_sigmas(recording: Recording, file: str) -> NDArray[np.float64]:
    """The column `sigma_s` of `pps.csv`, shape (n,).

    Raises:
        BadRecording: one is missing, or cannot be the standard deviation of a PPS edge in s.
    """
    table = Table(recording.path(file), where=file, required=("sigma_s",))
    parts: list[NDArray[np.float64]] = [np.zeros(0)]
    for block in table.blocks():
        sigma_s = block.numbers("sigma_s")
        good = (sigma_s >= FINEST_SIGMA_S) & (sigma_s <= COARSEST_SIGMA_S)  # NaN is not
        if not good.all():
            row = int(good.argmin())
            raise BadRecording(
                f"{file}, line {block.lines[row]}: column 'sigma_s' is "
                f"{block.columns['sigma_s'][row]!r}; expected {FINEST_SIGMA_S:g} to "
                f"{COARSEST_SIGMA_S:g} seconds"
            )
        parts.append(sigma_s)
    return np.concatenate(parts)


def pps_lines(recording: Recording) -> Iterator[PairLine]:
    """Each node's line against UTC from `pps.csv`: t_node, t_ref, sigma_s."""
    for node in recording.manifest.nodes.values():
        if "pps" not in node.evidence:
            continue
        file = node.evidence["pps"]
        t_node, t_ref = read_stamps(recording, file, ("t_node", "t_ref"))
        sigma_s = read_sigmas(recording, file)
        try:
            line = fit_edges(t_node, t_ref, sigma_s * NS_PER_S)
        except NotEnoughEvidence as exc:
            logger.warning("pps evidence left out node=%s reason=%s", node.id, exc)
            continue
        yield pair_line(UTC, node.id, "hardware", line)


def edge_lines(recording: Recording) -> Iterator[PairLine]:
    """Lines between nodes that stamped the same electrical line in `edges.csv`: t, line."""
    stamps: dict[str, dict[str, list[int]]] = {}
    for node in recording.manifest.nodes.values():
        if "edges" not in node.evidence:
            continue
        file = node.evidence["edges"]
        (times,) = read_stamps(recording, file, ("t",))
        table = Table(recording.path(file), where=file, required=("line",))
        names = [name for block in table.blocks() for name in block.columns["line"]]
        for name, t in zip(names, times.tolist(), strict=True):
            stamps.setdefault(name, {}).setdefault(node.id, []).append(t)
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


def exchange_lines(recording: Recording) -> Iterator[PairLine]:
    """Each node's line against the server that answered its `exchange.csv`: t1, t2, t3, t4."""
    for node in recording.manifest.nodes.values():
        if "exchange" not in node.evidence:
            continue
        columns = read_stamps(recording, node.evidence["exchange"], ("t1", "t2", "t3", "t4"))
        try:
            line = fit_exchanges(*columns)
        except NotEnoughEvidence as exc:
            logger.warning("network evidence left out node=%s reason=%s", node.id, exc)
            continue
        yield pair_line(SERVER, node.id, "network", line)


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
