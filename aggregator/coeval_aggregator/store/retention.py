"""What is too old, or too much, is deleted: oldest first, a little at a time.

A step is one short transaction, so that a batch of new blocks never waits long. The file of a
SQLite store does not shrink: what is freed is filled again.
"""

from dataclasses import dataclass

from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.store import Store

NS_PER_DAY = 86_400 * 10**9
BLOCKS_A_STEP = 2000
MOST_BLOCKS = 20_000
"""Blocks deleted at once, while new ones wait: about 0.3 s."""
OF_THE_EXCESS = 50
"""A store that is too large loses its span's fiftieth at a time."""
TABLES = {
    "evidence": "received_utc_ns",
    "clocks": "stated_utc_ns",
    "ticks": "told_utc_ns",
    "events": "told_utc_ns",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """How much a store holds."""

    num_blocks: int
    """Blocks."""
    num_bytes: int
    """What they take, about."""


def holding(store: Store) -> Holding:
    """How much a store holds."""
    ((num_blocks, num_bytes),) = store.database.fetch(
        "SELECT num_blocks, num_bytes FROM kept_blocks"
    )
    return Holding(num_blocks=num_blocks, num_bytes=num_bytes)


def delete_old(
    store: Store, config: StoreConfig, *, utc_ns: int, most_blocks: int = MOST_BLOCKS
) -> int:
    """Delete what the bounds leave out, or as much of it as is allowed at once.

    Args:
        store: where.
        config: the bounds.
        utc_ns: now.
        most_blocks: so many are enough; what is left is for the next call.

    Returns:
        Number of blocks deleted; fewer than `most_blocks`: nothing is left to delete.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    num_deleted = 0
    if config.keep_days is not None:
        cutoff_ns = utc_ns - round(config.keep_days * NS_PER_DAY)
        num_deleted += delete_before(store, cutoff_ns, most_blocks=most_blocks)
    if config.max_gb is None:
        return num_deleted
    while num_deleted < most_blocks and holding(store).num_bytes > config.max_gb * 1e9:
        oldest_ns = oldest_received(store)
        if oldest_ns is None:
            break
        step_ns = max((utc_ns - oldest_ns) // OF_THE_EXCESS, 1)
        left = most_blocks - num_deleted
        num_deleted += delete_before(store, oldest_ns + step_ns, most_blocks=left)
    return num_deleted


def oldest_received(store: Store) -> int | None:
    """When the oldest block came, UTC; None: there is none."""
    firsts = (
        store.database.fetch(
            "SELECT received_utc_ns FROM blocks WHERE run_id = ? ORDER BY t0_node_ns LIMIT 1", run
        )
        for run in store.database.fetch("SELECT id FROM runs")
    )
    return min((first[0][0] for first in firsts if first), default=None)


def delete_before(store: Store, utc_ns: int, *, most_blocks: int = MOST_BLOCKS) -> int:
    """Delete what came before an instant of UTC, or so many blocks; the number of blocks."""
    num_deleted = 0
    for (run_id,) in store.database.fetch("SELECT id FROM runs WHERE began_utc_ns < ?", (utc_ns,)):
        while num := _delete_blocks(store, run_id, utc_ns):
            num_deleted += num
            if num_deleted >= most_blocks:
                return num_deleted
    with store.database.transaction():
        for table, column in TABLES.items():
            store.database.execute(f"DELETE FROM {table} WHERE {column} < ?", (utc_ns,))
    return num_deleted


def _delete_blocks(store: Store, run_id: int, utc_ns: int) -> int:
    """Delete the run's oldest blocks, at most BLOCKS_A_STEP; the number that were old enough.

    Blocks come about in the order of their time, so that the oldest by either are the same.
    """
    database = store.database
    with database.transaction():
        oldest = database.fetch(
            "SELECT t0_node_ns, received_utc_ns, LENGTH(embeddings) FROM blocks "
            "WHERE run_id = ? ORDER BY t0_node_ns LIMIT ?",
            (run_id, BLOCKS_A_STEP),
        )
        old = [row for row in oldest if row[1] < utc_ns]
        if not old:
            return 0
        num = database.execute(
            "DELETE FROM blocks WHERE run_id = ? AND t0_node_ns <= ? AND received_utc_ns < ?",
            (run_id, old[-1][0], utc_ns),
        )
        num_bytes = sum(row[2] + database.row_overhead_bytes for row in old)
        database.execute(
            "UPDATE kept_blocks SET num_blocks = num_blocks - ?, num_bytes = num_bytes - ?",
            (num, num_bytes),
        )
    return num
