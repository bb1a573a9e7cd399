"""A store of either kind: what is written is there once, all of it or nothing."""

from pathlib import Path

import pytest

from coeval_aggregator.store import store as store_module
from coeval_aggregator.store.errors import StoreUnavailable, StoreUnusable
from coeval_aggregator.store.opening import open_database, open_store
from coeval_aggregator.store.retention import holding
from coeval_aggregator.store.schema import MIGRATIONS, bring_up_to_date
from coeval_aggregator.store.store import BLOCKS, Store

from .making import block, clock, count, event, evidence, kept, tick

TABLES = ("blocks", "evidence", "clocks", "ticks", "events")


def one_of_each() -> list:
    return [kept(block(0), evidence(), clock(5), tick(5), event(), mid=1)]


def test_what_is_written_is_there_after_the_store_is_opened_again(url: str) -> None:
    first = open_store(url)
    first.write(one_of_each())
    first.close()
    again = open_store(url)
    assert [count(again, table) for table in TABLES] == [1] * len(TABLES)
    rows = again.database.fetch("SELECT t0_node_ns, seq, num_rows, embeddings FROM blocks")
    assert rows == [(0, 0, 10, block(0).embeddings)]
    again.close()


def test_what_is_written_again_changes_nothing(store: Store) -> None:
    store.write(one_of_each())
    before = {table: store.database.fetch(f"SELECT * FROM {table}") for table in TABLES}
    written = store.write(one_of_each())
    assert (written.num_blocks, written.num_known) == (0, 1)
    assert {t: store.database.fetch(f"SELECT * FROM {t}") for t in TABLES} == before


def test_a_block_that_comes_twice_in_one_batch_is_kept_once(store: Store) -> None:
    written = store.write([kept(block(0), block(1), block(0))])
    assert (written.num_blocks, written.num_known) == (2, 1)
    assert holding(store).num_blocks == 2


def test_a_number_or_a_time_that_is_taken_is_not_taken_again(store: Store) -> None:
    """A rogue sender: the first block of a number, and of a time, stays."""
    store.write([kept(block(0), block(1))])
    moved = block(1).embeddings
    rogue = block(7)._replace(seq=1, embeddings=moved)
    assert store.write([kept(rogue)]).num_blocks == 0
    assert count(store, "blocks") == 2


def test_nodes_that_start_again_and_again_cost_bounded_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_IDS", 5)
    for boot_id in range(20):
        store.write([kept(block(boot_id, boot_id=boot_id)), kept(block(0))])
        assert len(store._runs) <= 7
    assert count(store, "blocks") == 21
    assert count(store, "runs") == 20


def test_runs_of_a_node_and_sessions_are_kept_apart(store: Store) -> None:
    store.write([kept(block(0)), kept(block(0, boot_id=2**64 - 1)), kept(block(0), session="t")])
    assert count(store, "blocks") == 3
    boots = store.database.fetch("SELECT boot FROM runs ORDER BY boot")
    assert boots == [("0" * 15 + "1",), ("0" * 15 + "1",), ("f" * 16,)]


def test_a_batch_that_fails_leaves_nothing(store: Store) -> None:
    wrong = evidence("no bytes but \ud800")  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"surrogates|encod|bytes"):
        store.write([kept(block(0)), kept(wrong)])
    assert count(store, "blocks") == count(store, "runs") == 0
    assert store.write([kept(block(0))]).num_blocks == 1


def test_a_newer_schema_is_refused_by_name(url: str) -> None:
    store = open_store(url)
    store.database.execute("UPDATE schema_version SET version = 99")
    store.close()
    newest = max(MIGRATIONS)
    with pytest.raises(StoreUnusable, match=f"schema version 99, this .* reads up to {newest}"):
        open_store(url)


def test_an_older_schema_is_brought_up_to_date_and_keeps_its_rows(url: str) -> None:
    store = open_store(url)
    store.write(one_of_each())
    step = {max(MIGRATIONS) + 1: ["ALTER TABLE ticks ADD COLUMN more {bytes}"]}
    assert bring_up_to_date(store.database, {**MIGRATIONS, **step}) == max(MIGRATIONS)
    assert store.database.fetch("SELECT t_ref_ns, more FROM ticks") == [(5, None)]
    store.close()
    with pytest.raises(StoreUnusable):
        open_store(url)


def test_a_migration_that_fails_changes_nothing(url: str) -> None:
    store = open_store(url)
    steps = ["ALTER TABLE ticks ADD COLUMN more {bytes}", "ALTER TABLE nothing ADD COLUMN x TEXT"]
    with pytest.raises(Exception, match="nothing"):
        bring_up_to_date(store.database, {**MIGRATIONS, 2: steps})
    with pytest.raises(Exception, match="more"):
        store.database.fetch("SELECT more FROM ticks")
    store.close()
    open_store(url).close()


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:secret@h/x?bogus=1"])
def test_what_is_no_address_of_a_database_is_told_with_what_one_is(url: str) -> None:
    with pytest.raises(StoreUnusable, match="expected postgresql://USER@HOST/DATABASE") as told:
        open_store(url)
    assert "secret" not in str(told.value)


def test_a_file_that_is_no_database_is_unusable_and_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("milk, bread\n" * 100, encoding="utf-8")
    with pytest.raises(StoreUnusable, match=r"notes\.db: file is not a database"):
        open_store(f"sqlite:///{path}")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"none/store\.db: unable to open"):
        open_database(f"sqlite:///{tmp_path}/none/store.db")


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match=r"postgresql://ann@127\.0\.0\.1:1/db: ") as caught:
        open_database("postgresql://ann:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_blocks_have_the_columns_that_are_written(store: Store) -> None:
    assert store.database.fetch(f"SELECT {', '.join(BLOCKS)} FROM blocks") == []
