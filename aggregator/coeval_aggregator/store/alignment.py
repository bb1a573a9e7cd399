"""Stored embeddings on the timeline: rows at a fixed step, each stream where its clock says.

Nothing aligned is stored: this is where it comes to be, by the best estimates there are now.
"""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.interval import NORMAL_95
from coeval.samples import FloatArray, IntArray
from coeval.time import NS_PER_S
from coeval_aggregator.store.clock_history import ClockHistory
from coeval_aggregator.store.reading import Reader, RunRow, SessionRow, TimelineRow

FAR_APART_NS = 1_500_000_000
"""Between instants further apart than this nothing is read: a block is about a third as long."""
MOST_AT_ONCE = 5000
"""Instants that are read for together: two hours at most, 10 MB a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedRows:
    """One stream at the instants of a request."""

    modality: str | None
    """What it senses; None: it was never described."""
    rows: FloatArray
    """Values, shape (n, dim); NaN where there is none."""
    is_there: NDArray[np.bool_]
    """Where there is a row, shape (n,)."""
    t_node_ns: IntArray
    """What its node's clock read at each instant where there is a row, shape (n,)."""
    ci95_s: float | None
    """Half-width of the 95 % interval of its clock, at its widest; None: the clock is unknown."""


def align_rows(
    reader: Reader,
    session: SessionRow,
    timeline: TimelineRow,
    *,
    t_ref_ns: IntArray,
    streams: Collection[str] | None = None,
) -> Mapping[str, AlignedRows]:
    """Rows of every stream at instants of a timeline.

    Args:
        reader: the store.
        session: whose streams.
        timeline: on which timeline.
        t_ref_ns: the instants, shape (n,), increasing.
        streams: which, as `node/stream`; None: all.

    Returns:
        By `node/stream`; a stream whose clock was never known on this timeline has no row.
    """
    found: dict[str, AlignedRows] = {}
    clocks: dict[tuple[str, str], ClockHistory | None] = {}
    for run in reader.runs(session):
        if streams is not None and run.name not in streams:
            continue
        clock = (run.node, run.boot)
        if clock not in clocks:
            clocks[clock] = reader.history(
                timeline,
                node=run.node,
                boot=run.boot,
                from_ns=int(t_ref_ns[0]),
                to_ns=int(t_ref_ns[-1]),
            )
        found[run.name] = merged(
            found.get(run.name), aligned_run(reader, run, clocks[clock], t_ref_ns)
        )
    return found


def aligned_run(
    reader: Reader, run: RunRow, clock: ClockHistory | None, t_ref_ns: IntArray
) -> AlignedRows:
    """Rows of one run; none where its clock is unknown."""
    dim = run.dim or 0
    rows = np.full((len(t_ref_ns), dim), np.nan, np.float32)
    is_there = np.zeros(len(t_ref_ns), np.bool_)
    nothing = AlignedRows(
        modality=run.modality, rows=rows, is_there=is_there, t_node_ns=t_ref_ns, ci95_s=None
    )
    if clock is None or run.hop_ns is None:
        return nothing
    placed = clock.to_node(t_ref_ns)
    wanted = placed.t_ns // run.hop_ns
    for part in near_parts(placed.t_ns):
        stored = reader.embeddings(
            run,
            from_node_ns=int(placed.t_ns[part].min()),
            to_node_ns=int(placed.t_ns[part].max()) + 1,
        )
        if not len(stored.hops):
            continue
        place = np.searchsorted(stored.hops, wanted[part])
        place[place == len(stored.hops)] = 0
        is_there[part] = stored.hops[place] == wanted[part]
        rows[part][is_there[part]] = stored.rows[place[is_there[part]]]
    if not is_there.any():
        return nothing
    ci95_s = NORMAL_95 * float(placed.sigma_ns[is_there].max()) / NS_PER_S
    return AlignedRows(
        modality=run.modality,
        rows=rows,
        is_there=is_there,
        t_node_ns=placed.t_ns,
        ci95_s=ci95_s,
    )


def near_parts(t_ns: IntArray) -> list[slice]:
    """Instants in parts of which all that lies between may be read at once.

    A year in steps of an hour would else be read whole, into memory.
    """
    ends = np.flatnonzero(np.abs(np.diff(t_ns)) > FAR_APART_NS) + 1
    bounds = [0, *ends.tolist(), len(t_ns)]
    return [
        slice(first, min(first + MOST_AT_ONCE, end))
        for begin, end in itertools.pairwise(bounds)
        for first in range(begin, end, MOST_AT_ONCE)
    ]


def merged(before: AlignedRows | None, new: AlignedRows) -> AlignedRows:
    """Two runs of one stream: what the later has, else what the earlier has."""
    if before is None or not before.is_there.any() or before.rows.shape != new.rows.shape:
        return new
    if not new.is_there.any():
        return before
    rows = np.where(new.is_there[:, None], new.rows, before.rows)
    widths = [each.ci95_s for each in (before, new) if each.ci95_s is not None]
    return AlignedRows(
        modality=new.modality or before.modality,
        rows=rows,
        is_there=new.is_there | before.is_there,
        t_node_ns=np.where(new.is_there, new.t_node_ns, before.t_node_ns),
        ci95_s=max(widths, default=None),
    )
