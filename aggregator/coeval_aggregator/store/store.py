"""From what a session leaves to rows: one batch, one transaction, and nothing twice.

A block is known by its run (session, node, stream, boot id) and its number: what comes again
changes nothing. A tick and a clock are known by their instant, evidence by its bytes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coeval_aggregator.store.database import Database, Row
from coeval_aggregator.store.records import (
    BlockRecord,
    ClockRecord,
    DescriptorRecord,
    EventRecord,
    EvidenceRecord,
    Kept,
    Record,
    TickRecord,
    Timeline,
)
from coeval_aggregator.store.schema import (
    BLOCKS,
    CLOCKS,
    EVENTS,
    EVIDENCE,
    TICKS,
    bring_up_to_date,
)

DIGEST_BYTES = 16
MOST_IDS = 10_000
"""Numbers of runs and timelines that are remembered; every start of a node makes new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a batch came to."""

    num_blocks: int
    """Blocks that were new."""
    num_known: int
    """Blocks that were there already."""


def boot_text(boot_id: int) -> str:
    """A boot id as stored and told: sixteen hexadecimal digits."""
    return f"{boot_id:016x}"


class Store:
    """A database with a store's tables; used by one thread."""

    def __init__(self, database: Database) -> None:
        """Take over a database.

        Raises:
            StoreUnavailable: it does not answer.
            StoreUnusable: its schema is newer than this version's.
        """
        self.database = database
        bring_up_to_date(database)
        self._sessions: dict[str, int] = {}
        self._runs: dict[tuple[str, str, str, int], int] = {}
        self._timelines: dict[tuple[str, Timeline], int] = {}

    @property
    def name(self) -> str:
        """Its URL without a password."""
        return self.database.name

    def write(self, batch: Sequence[Kept]) -> Written:
        """Keep a batch, all of it or nothing; durable when this returns.

        Raises:
            StoreUnavailable: nothing was kept; the database is full, locked or away.
        """
        try:
            with self.database.transaction():
                return self._write(batch)
        except BaseException:
            self.forget_ids()  # those made in the transaction are gone with it
            raise

    def forget_ids(self) -> None:
        """Look numbers of sessions, runs and timelines up again."""
        self._sessions.clear()
        self._runs.clear()
        self._timelines.clear()

    def _write(self, batch: Sequence[Kept]) -> Written:
        if len(self._runs) + len(self._timelines) > MOST_IDS:
            self.forget_ids()
        blocks: list[Row] = []
        others: dict[str, list[Row]] = {"evidence": [], "clocks": [], "ticks": [], "events": []}
        for kept in batch:
            for record in kept.records:
                if isinstance(record, BlockRecord):
                    blocks.append(self._block_row(kept, record))
                elif isinstance(record, DescriptorRecord):
                    self._describe(kept, record)
                else:
                    table, row = self._row(kept, record)
                    others[table].append(row)
        num_new = self._keep_blocks(blocks) if blocks else 0
        columns = {"evidence": EVIDENCE, "clocks": CLOCKS, "ticks": TICKS, "events": EVENTS}
        for table, rows in others.items():
            if rows:
                self.database.insert_new(table, columns[table], rows)
        return Written(num_blocks=num_new, num_known=len(blocks) - num_new)

    def _keep_blocks(self, rows: Sequence[Row]) -> int:
        num_new = self.database.insert_new("blocks", BLOCKS, rows)
        if num_new:
            # Which of a batch were new is not told; that some were known is the exception.
            mean_bytes = sum(len(row[-1]) for row in rows) / len(rows)
            self.database.execute(
                "UPDATE kept_blocks SET num_blocks = num_blocks + ?, num_bytes = num_bytes + ?",
                (num_new, round(num_new * (mean_bytes + self.database.row_overhead_bytes))),
            )
        return num_new

    def _block_row(self, kept: Kept, record: BlockRecord) -> Row:
        key = (kept.session, record.node, record.stream, record.boot_id)
        run_id = self._runs.get(key)
        if run_id is None:
            run_id = self._run_id(kept, record.node, record.stream, record.boot_id)
            self.database.execute(
                "UPDATE runs SET hop_ns = ?, dim = ? WHERE id = ?",
                (record.hop_ns, record.dim, run_id),
            )
            self._runs[key] = run_id
        return (
            run_id,
            record.t0_node_ns,
            record.seq,
            record.num_rows,
            kept.utc_ns,
            record.embeddings,
        )

    def _row(self, kept: Kept, record: Record) -> tuple[str, Row]:
        """The table and row of what is neither a block nor a descriptor."""
        match record:
            case EvidenceRecord():
                digest = hashlib.sha256(record.payload).digest()[:DIGEST_BYTES]
                session_id, boot = self._session_id(kept), boot_text(record.boot_id)
                row: Row = (session_id, record.node, boot, digest, kept.utc_ns, record.payload)
                return "evidence", row
            case ClockRecord():
                return "clocks", (
                    self._timeline_id(kept, record.timeline),
                    record.node,
                    record.t_ref_ns,
                    boot_text(record.boot_id),
                    kept.utc_ns,
                    record.status,
                    record.covers_from_ns,
                    record.offset_ns,
                    record.skew_ppb,
                    record.var_offset_ns2,
                    record.cov_offset_skew,
                    record.var_skew_ppb2,
                    json.dumps(record.jumps),
                    json.dumps(record.evidence),
                )
            case TickRecord():
                timeline_id = self._timeline_id(kept, record.timeline)
                row = (timeline_id, record.t_ref_ns, kept.utc_ns, record.anomaly, record.payload)
                return "ticks", row
            case EventRecord():
                return "events", (
                    self._session_id(kept),
                    kept.utc_ns,
                    record.kind,
                    record.node,
                    record.stream,
                    None if record.timeline is None else self._timeline_id(kept, record.timeline),
                    record.t_ref_ns,
                    record.payload,
                )
        raise TypeError(f"no table for {type(record).__name__}")

    def _describe(self, kept: Kept, record: DescriptorRecord) -> None:
        run_id = self._run_id(kept, record.node, record.stream, record.boot_id)
        self.database.execute(
            "UPDATE runs SET modality = ?, descriptor = ? WHERE id = ?",
            (record.modality, record.payload, run_id),
        )

    def _session_id(self, kept: Kept) -> int:
        if kept.session not in self._sessions:
            self._sessions[kept.session] = self._id_of(
                "sessions", {"name": kept.session}, kept.utc_ns
            )
        return self._sessions[kept.session]

    def _run_id(self, kept: Kept, node: str, stream: str, boot_id: int) -> int:
        key = {
            "session_id": self._session_id(kept),
            "node": node,
            "stream": stream,
            "boot": boot_text(boot_id),
        }
        return self._id_of("runs", key, kept.utc_ns)

    def _timeline_id(self, kept: Kept, timeline: Timeline) -> int:
        key = (kept.session, timeline)
        if key not in self._timelines:
            values = {
                "session_id": self._session_id(kept),
                "reference": timeline.reference,
                "boot": boot_text(timeline.boot_id),
            }
            self._timelines[key] = self._id_of("timelines", values, kept.utc_ns)
        return self._timelines[key]

    def _id_of(self, table: str, key: Mapping[str, object], utc_ns: int) -> int:
        """The number of a row, which is made where there is none."""
        asked = " AND ".join(f"{column} = ?" for column in key)
        query = f"SELECT id FROM {table} WHERE {asked}"
        found = self.database.fetch(query, tuple(key.values()))
        if not found:
            columns = (*key, "began_utc_ns")
            self.database.insert_new(table, columns, [(*key.values(), utc_ns)])
            found = self.database.fetch(query, tuple(key.values()))
        return int(found[0][0])

    def close(self) -> None:
        """End the connection."""
        self.database.close()
