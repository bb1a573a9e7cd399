"""What a store holds, asked for by people and programs: sessions, streams, clocks, blocks …"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coeval.samples import FloatArray, IntArray
from coeval_aggregator.store.clock_history import ClockHistory, Estimate
from coeval_aggregator.store.database import Database, Row
from coeval_aggregator.store.schema import CLOCKS

BLOCKS_A_PAGE = 5000
MARGIN_NS = 600 * 10**9
"""Estimates made so much earlier or later may be the surest."""
THIN_NS = 10 * 10**9
ESTIMATE = (
    "t_ref_ns, covers_from_ns, offset_ns, skew_ppb, var_offset_ns2, cov_offset_skew, "
    "var_skew_ppb2, jumps"
)
"""Columns that `estimate_of` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session."""

    id: int
    """Its number in this store."""
    name: str
    """Its name."""
    began_utc_ns: int
    """When its first message came, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """One run of a reference node's clock."""

    id: int
    """Its number in this store."""
    reference: str
    """The node."""
    boot: str
    """Its run, 16 hexadecimal digits."""
    began_utc_ns: int
    """When its first estimate or tick came, UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A stream in one run of its node."""

    id: int
    """Its number in this store."""
    node: str
    """The node."""
    stream: str
    """The stream."""
    boot: str
    """The run, 16 hexadecimal digits."""
    began_utc_ns: int
    """When its first message came, UTC."""
    modality: str | None
    """What it senses; None: it was never described."""
    descriptor: dict[str, Any]
    """What its node said of it."""
    hop_ns: int | None
    """Time between embeddings; None: no block came."""
    dim: int | None
    """Columns; None: no block came."""

    @property
    def name(self) -> str:
        """`node/stream`."""
        return f"{self.node}/{self.stream}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Embeddings of one run, one row a hop that is there."""

    hops: IntArray
    """Which hop of the node's clock each row is, shape (n,), increasing."""
    rows: FloatArray
    """Values, shape (n, dim)."""


class Reader:
    """Asks a store; used by one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """End the connection."""
        self._database.close()

    def sessions(self) -> list[SessionRow]:
        """All sessions, by name."""
        rows = self._database.fetch("SELECT id, name, began_utc_ns FROM sessions ORDER BY name")
        return [SessionRow(id=i, name=name, began_utc_ns=began) for i, name, began in rows]

    def timelines(self, session: SessionRow) -> list[TimelineRow]:
        """The session's timelines, the newest last."""
        rows = self._database.fetch(
            "SELECT id, reference, boot, began_utc_ns FROM timelines WHERE session_id = ? "
            "ORDER BY began_utc_ns, id",
            (session.id,),
        )
        return [
            TimelineRow(id=i, reference=reference, boot=boot, began_utc_ns=began)
            for i, reference, boot, began in rows
        ]

    def runs(self, session: SessionRow) -> list[RunRow]:
        """The session's streams in all runs of their nodes, the newest run of a stream last."""
        rows = self._database.fetch(
            "SELECT id, node, stream, boot, began_utc_ns, modality, descriptor, hop_ns, dim "
            "FROM runs WHERE session_id = ? ORDER BY node, stream, began_utc_ns, id",
            (session.id,),
        )
        return [
            RunRow(
                id=row[0],
                node=row[1],
                stream=row[2],
                boot=row[3],
                began_utc_ns=row[4],
                modality=row[5],
                descriptor=json.loads(row[6]) if row[6] else {},
                hop_ns=row[7],
                dim=row[8],
            )
            for row in rows
        ]

    def span(self, run: RunRow) -> tuple[int, int] | None:
        """Where a run's first and last block begin on its node's clock; None: it has none."""
        ((first, last),) = self._database.fetch(
            "SELECT MIN(t0_node_ns), MAX(t0_node_ns) FROM blocks WHERE run_id = ?", (run.id,)
        )
        return None if first is None else (int(first), int(last))

    def begin_of(self, run: RunRow, *, seq: int) -> int | None:
        """Where a run's blocks from a number on begin on its node's clock; None: there are none."""
        ((first,),) = self._database.fetch(
            "SELECT MIN(t0_node_ns) FROM blocks WHERE run_id = ? AND seq >= ?", (run.id, seq)
        )
        return None if first is None else int(first)

    def arrival(self, run: RunRow) -> tuple[int, int] | None:
        """End of a run's newest block on its node's clock, and when it came, UTC."""
        found = self._database.fetch(
            "SELECT t0_node_ns, num_rows, received_utc_ns FROM blocks WHERE run_id = ? "
            "ORDER BY t0_node_ns DESC LIMIT 1",
            (run.id,),
        )
        if not found or run.hop_ns is None:
            return None
        t0_ns, num_rows, received_ns = found[0]
        return t0_ns + num_rows * run.hop_ns, received_ns

    def embeddings(self, run: RunRow, *, from_node_ns: int, to_node_ns: int) -> Embeddings:
        """The embeddings of a run that lie between two readings of its node's clock."""
        before = "SELECT MAX(t0_node_ns) FROM blocks WHERE run_id = ? AND t0_node_ns <= ?"
        rows = self._database.fetch(
            "SELECT t0_node_ns, num_rows, embeddings FROM blocks WHERE run_id = ? "
            f"AND t0_node_ns >= COALESCE(({before}), ?) AND t0_node_ns < ? ORDER BY t0_node_ns",
            (run.id, run.id, from_node_ns, from_node_ns, to_node_ns),
        )
        return joined(rows, run)

    def all_embeddings(self, run: RunRow, *, page: int = BLOCKS_A_PAGE) -> Iterator[Embeddings]:
        """All embeddings of a run in time order, some thousand blocks at a time."""
        after_ns = -(2**63)
        while True:
            rows = self._database.fetch(
                "SELECT t0_node_ns, num_rows, embeddings FROM blocks WHERE run_id = ? "
                "AND t0_node_ns > ? ORDER BY t0_node_ns LIMIT ?",
                (run.id, after_ns, page),
            )
            if not rows:
                return
            after_ns = rows[-1][0]
            yield joined(rows, run)

    def history(
        self,
        timeline: TimelineRow,
        *,
        node: str,
        boot: str,
        from_ns: int | None = None,
        to_ns: int | None = None,
    ) -> ClockHistory | None:
        """What was estimated of a node's run on a timeline; None: it never locked.

        Args:
            timeline: against which clock.
            node: the node.
            boot: its run.
            from_ns: where it is wanted; None: everywhere.
            to_ns: until where.
        """
        if (node, boot) == (timeline.reference, timeline.boot):
            return ClockHistory((), is_reference=True)
        known = "timeline_id = ? AND node = ? AND boot = ? AND offset_ns IS NOT NULL"
        key: tuple[object, ...] = (timeline.id, node, boot)
        if from_ns is None or to_ns is None:
            rows = self._thinned(known, key)
        else:
            near = (*key, from_ns - MARGIN_NS, to_ns + MARGIN_NS)
            rows = self._thinned(f"{known} AND t_ref_ns >= ? AND t_ref_ns <= ?", near)
            if not rows:  # the nearest ones, far away: their intervals have grown
                rows = self._estimates(
                    f"{known} AND t_ref_ns < ? ORDER BY t_ref_ns DESC LIMIT 1", (*key, from_ns)
                ) + self._estimates(
                    f"{known} AND t_ref_ns > ? ORDER BY t_ref_ns LIMIT 1", (*key, to_ns)
                )
        return ClockHistory([estimate_of(row) for row in rows]) if rows else None

    def clock_rows(
        self,
        timeline: TimelineRow,
        *,
        node: str | None = None,
        from_ns: int,
        to_ns: int,
        limit: int,
    ) -> list[dict[str, Any]]:
        """The history of clocks as it is told, in time order.

        Args:
            timeline: against which clock.
            node: one node's; None: all.
            from_ns: of the timeline.
            to_ns: of the timeline, exclusive.
            limit: at most so many.
        """
        columns = [name for name in CLOCKS if name != "timeline_id"]
        of_node = "" if node is None else "AND node = ? "
        values = (timeline.id, from_ns, to_ns, *(() if node is None else (node,)), limit)
        rows = self._database.fetch(
            f"SELECT {', '.join(columns)} FROM clocks WHERE timeline_id = ? AND t_ref_ns >= ? "
            f"AND t_ref_ns < ? {of_node}ORDER BY t_ref_ns, node LIMIT ?",
            values,
        )
        told = [dict(zip(columns, row, strict=True)) for row in rows]
        for each in told:
            each["jumps"], each["evidence"] = (
                json.loads(each["jumps"]),
                json.loads(each["evidence"]),
            )
        return told

    def last_clocks(self, timeline: TimelineRow) -> list[dict[str, Any]]:
        """The last that was estimated of every node's clock."""
        told = []
        for node in self.clock_nodes(timeline):
            ((last_ns,),) = self._database.fetch(
                "SELECT MAX(t_ref_ns) FROM clocks WHERE timeline_id = ? AND node = ?",
                (timeline.id, node),
            )
            told += self.clock_rows(
                timeline, node=node, from_ns=last_ns, to_ns=last_ns + 1, limit=1
            )
        return told

    def clock_nodes(self, timeline: TimelineRow) -> list[str]:
        """The nodes whose clocks have a history."""
        rows = self._database.fetch(
            "SELECT DISTINCT node FROM clocks WHERE timeline_id = ? ORDER BY node", (timeline.id,)
        )
        return [node for (node,) in rows]

    def ticks(
        self, timeline: TimelineRow, *, from_ns: int, to_ns: int, limit: int
    ) -> list[dict[str, Any]]:
        """What was fused between two instants of a timeline, in time order."""
        rows = self._database.fetch(
            "SELECT t_ref_ns, payload FROM ticks WHERE timeline_id = ? AND t_ref_ns >= ? "
            "AND t_ref_ns < ? ORDER BY t_ref_ns LIMIT ?",
            (timeline.id, from_ns, to_ns, limit),
        )
        return [{"t_ref_ns": t_ref_ns} | json.loads(payload) for t_ref_ns, payload in rows]

    def events(
        self,
        session: SessionRow,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        kinds: Sequence[str] = (),
        limit: int,
    ) -> list[dict[str, Any]]:
        """The session's events in the order they were told, or against it.

        Args:
            session: whose.
            after: only those with a higher number.
            before: only those with a lower number; None: all.
            newest_first: whether the last one told comes first.
            kinds: only of these kinds; none: all.
            limit: at most so many.
        """
        of_kinds = f"AND kind IN ({', '.join('?' * len(kinds))}) " if kinds else ""
        of_older = "" if before is None else "AND id < ? "
        rows = self._database.fetch(
            "SELECT id, kind, told_utc_ns, timeline_id, t_ref_ns, payload FROM events "
            f"WHERE session_id = ? AND id > ? {of_older}{of_kinds}"
            f"ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?",
            (session.id, after, *(() if before is None else (before,)), *kinds, limit),
        )
        return [
            {"t_ref_ns": t_ref_ns}  # an anomaly says itself when it was
            | json.loads(payload)
            | {"number": number, "event": kind, "told_utc_ns": told, "timeline": timeline}
            for number, kind, told, timeline, t_ref_ns, payload in rows
        ]

    def evidence(self, session: SessionRow) -> Iterator[tuple[str, str, bytes]]:
        """Node, run and message of all evidence, each node's in the order it came."""
        for node, boot in self._database.fetch(
            "SELECT DISTINCT node, boot FROM evidence WHERE session_id = ? ORDER BY node, boot",
            (session.id,),
        ):
            rows = self._database.fetch(
                "SELECT payload FROM evidence WHERE session_id = ? AND node = ? AND boot = ? "
                "ORDER BY received_utc_ns, digest",
                (session.id, node, boot),
            )
            for (payload,) in rows:
                yield node, boot, bytes(payload)

    def _thinned(self, where: str, values: Sequence[object]) -> list[Row]:
        """Estimates come every few seconds and differ little: the last of ten seconds will do."""
        following = "LEAD(t_ref_ns) OVER (ORDER BY t_ref_ns)"
        return self._database.fetch(
            f"SELECT {ESTIMATE} FROM (SELECT {ESTIMATE}, {following} AS next_ns FROM clocks "
            f"WHERE {where}) AS near WHERE next_ns IS NULL "
            f"OR next_ns / {THIN_NS} <> t_ref_ns / {THIN_NS} ORDER BY t_ref_ns",
            values,
        )

    def _estimates(self, where: str, values: Sequence[object]) -> list[Row]:
        return self._database.fetch(f"SELECT {ESTIMATE} FROM clocks WHERE {where}", values)


def estimate_of(row: Row) -> Estimate:
    """A stored estimate."""
    return Estimate(
        t_ref_ns=row[0],
        covers_from_ns=row[1],
        offset_ns=row[2],
        skew_ppb=row[3],
        var_offset_ns2=row[4],
        cov_offset_skew=row[5] or 0.0,
        var_skew_ppb2=row[6],
        jumps=() if row[7] == "[]" else tuple((at, by) for at, by in json.loads(row[7])),
    )


def joined(blocks: Sequence[Row], run: RunRow) -> Embeddings:
    """Blocks (t0, rows, bytes) in time order as one array; of a hop that comes twice, the last."""
    if not blocks or run.hop_ns is None or run.dim is None:
        return Embeddings(hops=np.zeros(0, np.int64), rows=np.zeros((0, run.dim or 0), np.float32))
    num_rows = np.array([block[1] for block in blocks], np.int64)
    first = np.array([block[0] for block in blocks], np.int64) // run.hop_ns
    begins = np.cumsum(num_rows) - num_rows
    hops = np.arange(num_rows.sum()) + np.repeat(first - begins, num_rows)
    data = np.frombuffer(b"".join(block[2] for block in blocks), "<f2").reshape(-1, run.dim)
    if (np.diff(hops) <= 0).any():
        hops, last = np.unique(hops[::-1], return_index=True)
        data = data[::-1][last]
    return Embeddings(hops=hops, rows=data.astype(np.float32))
