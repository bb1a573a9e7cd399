"""A node's evidence files: what it measured of its clock while a recording was made.

In: `pps.csv` (t_node, t_ref, sigma_s), `exchange.csv` (t1, t2, t3, t4), `edges.csv` (t, line). Out:
the samples that a live node would have published.
"""

import logging
import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.evidence import SERVER
from coeval.evidence_wire import EdgeSample, ExchangeSample, PpsSample, TimeSample
from coeval.hardware import SHARED_EDGE_SIGMA_NS
from coeval.network import Exchange
from coeval.samples import IntArray
from coeval.time import NS_PER_S
from coeval_edge.recording import Recording
from coeval_edge.tables import Table

logger = logging.getLogger(__name__)

KINDS = ("pps", "exchange", "edges")
"""What a node's `evidence` may hold; another kind is left out and said."""
FINEST_SIGMA_S, COARSEST_SIGMA_S = 1e-10, 1.0
"""What a PPS edge can be said to err by: stamps are whole ns, and edges a second apart."""


def read_time_samples(
    recording: Recording, node: str, *, kinds: Collection[str] = KINDS
) -> dict[str, list[TimeSample]]:
    """What a node's evidence files hold, by kind, in each file's own order.

    Args:
        recording: an open recording.
        node: one of its nodes.
        kinds: which files to read.

    Raises:
        BadRecording: a file lacks a column or holds something that is no number.
    """
    files = recording.manifest.nodes[node].evidence
    for kind in sorted(set(files) - set(KINDS)):
        logger.warning(
            "evidence left out node=%s kind=%s reason=unknown kind; known are %s",
            node,
            kind,
            ", ".join(KINDS),
        )
    readers = {"pps": read_pps, "edges": read_edges, "exchange": read_exchanges}
    return {
        kind: readers[kind](recording, files[kind])
        for kind in KINDS
        if kind in files and kind in kinds
    }


def read_pps(recording: Recording, file: str) -> list[TimeSample]:
    """The edges of `pps.csv`."""
    t_node, t_ref = read_stamps(recording, file, ("t_node", "t_ref"))
    sigma_ns = read_sigmas(recording, file) * NS_PER_S
    columns = (t_node.tolist(), t_ref.tolist(), sigma_ns.tolist())
    return [
        PpsSample(t_node_ns=node_ns, t_utc_ns=ref_ns, sigma_ns=sigma)
        for node_ns, ref_ns, sigma in zip(*columns, strict=True)
    ]


def read_edges(recording: Recording, file: str) -> list[TimeSample]:
    """The edges of `edges.csv`."""
    (times,) = read_stamps(recording, file, ("t",))
    table = Table(recording.path(file), where=file, required=("line",))
    names = [name for block in table.blocks() for name in block.columns["line"]]
    sigma_ns = SHARED_EDGE_SIGMA_NS / math.sqrt(2.0)
    return [
        EdgeSample(line=name, t_node_ns=t, sigma_ns=sigma_ns)
        for name, t in zip(names, times.tolist(), strict=True)
    ]


def read_exchanges(recording: Recording, file: str) -> list[TimeSample]:
    """The exchanges of `exchange.csv`."""
    columns = read_stamps(recording, file, ("t1", "t2", "t3", "t4"))
    return [
        ExchangeSample(other=SERVER, exchange=Exchange(t1_ns=t1, t2_ns=t2, t3_ns=t3, t4_ns=t4))
        for t1, t2, t3, t4 in zip(*(column.tolist() for column in columns), strict=True)
    ]


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
