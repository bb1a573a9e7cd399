"""What is too old or too much goes, oldest first, and the books stay right."""

from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.retention import NS_PER_DAY, delete_old, holding
from coeval_aggregator.store.store import Store

from .making import block, clock, count, event, evidence, kept, tick

NOW_NS = 100 * NS_PER_DAY


def fill(store: Store, *, days: int, a_day: int = 10) -> None:
    """Blocks of two nodes, one of them silent since the first half, up to now."""
    for day in range(days):
        utc_ns = NOW_NS - (days - day) * NS_PER_DAY
        seqs = range(day * a_day, (day + 1) * a_day)
        nodes = ("cam", "wrist") if day < days // 2 else ("cam",)
        blocks = [block(seq, node=node) for seq in seqs for node in nodes]
        others = (clock(day), tick(day), evidence(b"%d" % day))
        store.write([kept(*blocks, *others, event(), utc_ns=utc_ns)])


def seqs(store: Store) -> list[int]:
    return [row[0] for row in store.database.fetch("SELECT seq FROM blocks ORDER BY seq, run_id")]


def test_nothing_is_deleted_without_bounds(store: Store) -> None:
    fill(store, days=4)
    assert delete_old(store, StoreConfig(), utc_ns=NOW_NS) == 0
    assert holding(store).num_blocks == count(store, "blocks") == 60


def test_what_is_older_than_the_days_goes_from_every_table(store: Store) -> None:
    fill(store, days=8)
    num = delete_old(store, StoreConfig(keep_days=2.5), utc_ns=NOW_NS)
    assert num == 6 * 10 + 4 * 10
    assert seqs(store) == list(range(60, 80))
    assert [count(store, t) for t in ("clocks", "ticks", "evidence", "events")] == [2] * 4
    assert holding(store).num_blocks == 20


def test_the_oldest_go_when_blocks_take_too_much(store: Store) -> None:
    fill(store, days=8)
    full = holding(store)
    config = StoreConfig(max_gb=full.num_bytes / 2 / 1e9)
    num = delete_old(store, config, utc_ns=NOW_NS)
    left = holding(store)
    assert left.num_blocks == count(store, "blocks") == full.num_blocks - num
    assert 0.2 * full.num_bytes < left.num_bytes <= 0.5 * full.num_bytes
    assert seqs(store)[-1] == 79
    assert delete_old(store, config, utc_ns=NOW_NS) == 0


def test_a_bound_below_everything_empties_the_store_and_ends(store: Store) -> None:
    fill(store, days=2)
    delete_old(store, StoreConfig(max_gb=1e-6), utc_ns=NOW_NS)
    assert holding(store).num_bytes <= 1000


def test_no_more_is_deleted_at_once_than_allowed(store: Store) -> None:
    fill(store, days=8)
    config = StoreConfig(keep_days=2.5)
    first = delete_old(store, config, utc_ns=NOW_NS, most_blocks=15)
    assert 15 <= first < 100
    assert first + delete_old(store, config, utc_ns=NOW_NS) == 100


def test_a_bounded_store_goes_on_taking_blocks_of_a_run_that_was_emptied(store: Store) -> None:
    fill(store, days=2)
    delete_old(store, StoreConfig(keep_days=0.5), utc_ns=NOW_NS)
    assert store.write([kept(block(100, node="wrist"), utc_ns=NOW_NS)]).num_blocks == 1
    assert holding(store).num_blocks == 1
