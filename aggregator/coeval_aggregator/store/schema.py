"""The tables of a store, one list of statements for SQLite and PostgreSQL, and how they change.

A store says in `schema_version` which version it has. An older one is brought up to date, step by
step, in one transaction; a newer one is refused by name. Why the tables are as they are:
docs/decisions/0030-the-store.md.
"""

from collections.abc import Mapping, Sequence

from coeval_aggregator.store.database import Database
from coeval_aggregator.store.errors import StoreUnusable

BLOCKS = ("run_id", "t0_node_ns", "seq", "num_rows", "received_utc_ns", "embeddings")
EVIDENCE = ("session_id", "node", "boot", "digest", "received_utc_ns", "payload")
CLOCKS = (
    "timeline_id",
    "node",
    "t_ref_ns",
    "boot",
    "stated_utc_ns",
    "status",
    "covers_from_ns",
    "offset_ns",
    "skew_ppb",
    "var_offset_ns2",
    "cov_offset_skew",
    "var_skew_ppb2",
    "jumps",
    "evidence",
)
TICKS = ("timeline_id", "t_ref_ns", "told_utc_ns", "anomaly", "payload")
EVENTS = (
    "session_id",
    "told_utc_ns",
    "kind",
    "node",
    "stream",
    "timeline_id",
    "t_ref_ns",
    "payload",
)
"""Columns as they are written."""

VERSION_1 = (
    "CREATE TABLE sessions (id {serial}, name TEXT NOT NULL UNIQUE, began_utc_ns BIGINT NOT NULL)",
    # A run of a stream: one stream of one run of its node. Numbers and times count within it.
    """CREATE TABLE runs (
        id {serial}, session_id BIGINT NOT NULL REFERENCES sessions(id),
        node TEXT NOT NULL, stream TEXT NOT NULL, boot TEXT NOT NULL,
        began_utc_ns BIGINT NOT NULL, modality TEXT, descriptor TEXT,
        hop_ns BIGINT, dim BIGINT,
        UNIQUE (session_id, node, stream, boot))""",
    """CREATE TABLE blocks (
        run_id BIGINT NOT NULL, t0_node_ns BIGINT NOT NULL, seq BIGINT NOT NULL,
        num_rows BIGINT NOT NULL, received_utc_ns BIGINT NOT NULL, embeddings {bytes} NOT NULL,
        PRIMARY KEY (run_id, t0_node_ns)) {clustered}""",
    "CREATE UNIQUE INDEX blocks_seq ON blocks (run_id, seq)",
    """CREATE TABLE evidence (
        session_id BIGINT NOT NULL, node TEXT NOT NULL, boot TEXT NOT NULL, digest {bytes} NOT NULL,
        received_utc_ns BIGINT NOT NULL, payload {bytes} NOT NULL,
        PRIMARY KEY (session_id, node, boot, digest)) {clustered}""",
    "CREATE INDEX evidence_age ON evidence (received_utc_ns)",
    """CREATE TABLE timelines (
        id {serial}, session_id BIGINT NOT NULL REFERENCES sessions(id),
        reference TEXT NOT NULL, boot TEXT NOT NULL, began_utc_ns BIGINT NOT NULL,
        UNIQUE (session_id, reference, boot))""",
    """CREATE TABLE clocks (
        timeline_id BIGINT NOT NULL, node TEXT NOT NULL, t_ref_ns BIGINT NOT NULL,
        boot TEXT NOT NULL, stated_utc_ns BIGINT NOT NULL, status TEXT NOT NULL,
        covers_from_ns BIGINT NOT NULL, offset_ns {real}, skew_ppb {real}, var_offset_ns2 {real},
        cov_offset_skew {real}, var_skew_ppb2 {real}, jumps TEXT NOT NULL, evidence TEXT NOT NULL,
        PRIMARY KEY (timeline_id, node, t_ref_ns)) {clustered}""",
    "CREATE INDEX clocks_age ON clocks (stated_utc_ns)",
    """CREATE TABLE ticks (
        timeline_id BIGINT NOT NULL, t_ref_ns BIGINT NOT NULL, told_utc_ns BIGINT NOT NULL,
        anomaly {real}, payload TEXT NOT NULL,
        PRIMARY KEY (timeline_id, t_ref_ns)) {clustered}""",
    "CREATE INDEX ticks_age ON ticks (told_utc_ns)",
    """CREATE TABLE events (
        id {serial}, session_id BIGINT NOT NULL, told_utc_ns BIGINT NOT NULL, kind TEXT NOT NULL,
        node TEXT NOT NULL, stream TEXT, timeline_id BIGINT, t_ref_ns BIGINT,
        payload TEXT NOT NULL)""",
    "CREATE INDEX events_age ON events (told_utc_ns)",
    # What is written again after a commit whose answer was lost is the same event.
    "CREATE UNIQUE INDEX events_once ON events (session_id, told_utc_ns, kind, node, payload)",
    "CREATE TABLE kept_blocks (num_blocks BIGINT NOT NULL, num_bytes BIGINT NOT NULL)",
    "INSERT INTO kept_blocks VALUES (0, 0)",
)

MIGRATIONS: Mapping[int, Sequence[str]] = {1: VERSION_1}
"""What brings a store from the version before to this one; never changed once released."""


def bring_up_to_date(
    database: Database, migrations: Mapping[int, Sequence[str]] = MIGRATIONS
) -> int:
    """Make or migrate the tables.

    Args:
        database: where.
        migrations: the steps, by the version that they reach.

    Returns:
        The version that the store had; 0: it was empty.

    Raises:
        StoreUnusable: the store is of a newer version than the newest step.
        StoreUnavailable: the database does not answer.
    """
    newest = max(migrations)
    with database.transaction():
        database.lock_schema()
        had = schema_version(database)
        if had > newest:
            raise StoreUnusable(
                f"store {database.name}: schema version {had}, this version of coeval reads up to "
                f"{newest}; update coeval, or name another store"
            )
        for version in range(had + 1, newest + 1):
            for statement in migrations[version]:
                database.execute(statement.format_map(database.types))
        if had == 0:
            database.execute("INSERT INTO schema_version VALUES (?)", (newest,))
        elif had < newest:
            database.execute("UPDATE schema_version SET version = ?", (newest,))
    return had


def schema_version(database: Database) -> int:
    """The version of a store's tables; 0: there are none. Makes the table that says so."""
    database.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
    found = database.fetch("SELECT version FROM schema_version")
    return int(found[0][0]) if found else 0
