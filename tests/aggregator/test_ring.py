"""The ring: rows by hop, in any order, bounded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.time import NodeNs
from coeval_aggregator.ring import Ring


def rows(first: int, count: int) -> Hops:
    values = np.arange(first, first + count, dtype=np.float32)
    return Hops(
        t0_node_ns=NodeNs(first * HOP_NS), rows=np.repeat(values[:, None], EMBEDDING_DIM, axis=1)
    )


def spans(ring: Ring) -> list[tuple[int, int]]:
    """First hop and length of every run; checks that each row is where it belongs."""
    for run in ring.runs():
        np.testing.assert_array_equal(
            run.rows[:, 0], np.arange(len(run.rows)) + run.t0_node_ns // HOP_NS
        )
    return [(run.t0_node_ns // HOP_NS, len(run.rows)) for run in ring.runs()]


def test_an_empty_ring_says_nothing() -> None:
    ring = Ring(capacity_hops=10)
    assert ring.runs() == []
    assert ring.row_at(0) is None
    assert ring.end_node_ns is None


def test_neighbours_join_and_gaps_stay() -> None:
    ring = Ring(capacity_hops=100)
    for first, count in ((5, 3), (8, 2), (20, 4)):
        ring.write(rows(first, count))
    assert spans(ring) == [(5, 5), (20, 4)]
    assert ring.end_node_ns == 24 * HOP_NS


def test_late_rows_fill_the_gap_they_left() -> None:
    ring = Ring(capacity_hops=100)
    ring.write(rows(0, 5))
    ring.write(rows(10, 5))
    assert ring.write(rows(5, 5)) == 5
    assert spans(ring) == [(0, 15)]


def test_rows_before_the_first_are_taken_too() -> None:
    ring = Ring(capacity_hops=100)
    ring.write(rows(50, 5))
    ring.write(rows(40, 5))
    assert spans(ring) == [(40, 5), (50, 5)]


def test_the_oldest_give_way_exactly_when_the_ring_is_full() -> None:
    ring = Ring(capacity_hops=10)
    ring.write(rows(0, 10))
    assert spans(ring) == [(0, 10)]
    ring.write(rows(10, 1))
    assert spans(ring) == [(1, 10)]
    assert ring.row_at(0) is None
    assert ring.write(rows(0, 1)) == 0


def test_a_jump_leaves_no_old_row_in_a_new_place() -> None:
    ring = Ring(capacity_hops=10)
    ring.write(rows(0, 10))
    ring.write(rows(13, 2))
    assert spans(ring) == [(5, 5), (13, 2)]
    ring.write(rows(1000, 1))
    assert spans(ring) == [(1000, 1)]


def test_a_block_longer_than_the_ring_keeps_its_end() -> None:
    ring = Ring(capacity_hops=10)
    assert ring.write(rows(0, 25)) == 10
    assert spans(ring) == [(15, 10)]


def test_stamps_before_zero_are_stamps() -> None:
    ring = Ring(capacity_hops=10)
    ring.write(rows(-5, 8))
    assert spans(ring) == [(-5, 8)]
    row = ring.row_at(-1)
    assert row is not None
    assert row[0] == -1


def test_a_row_is_found_anywhere_in_its_hop() -> None:
    ring = Ring(capacity_hops=10)
    ring.write(rows(3, 1))
    assert ring.row_at(3 * HOP_NS) is not None
    assert ring.row_at(4 * HOP_NS - 1) is not None
    assert ring.row_at(4 * HOP_NS) is None
    assert ring.row_at(3 * HOP_NS - 1) is None


def test_a_row_keeps_the_surprise_it_came_with_and_a_gap_has_none() -> None:
    ring = Ring(capacity_hops=50)
    ring.write(rows(0, 10))
    ring.write(rows(20, 10), surprise=7.5)
    told = [ring.surprise_at(hop * HOP_NS) for hop in (5, 15, 25, 35)]
    assert told == [0.0, 0.0, 7.5, 0.0]
    ring.write(rows(70, 10))
    assert ring.surprise_at(75 * HOP_NS) == 0.0


@given(
    writes=st.lists(
        st.tuples(st.integers(min_value=-30, max_value=60), st.integers(min_value=1, max_value=12)),
        max_size=6,
    ),
    last=st.integers(min_value=-40, max_value=80),
)
def test_the_last_rows_before_an_instant_are_those_of_its_hops(
    writes: list[tuple[int, int]], last: int
) -> None:
    ring = Ring(capacity_hops=20)
    for first, num in writes:
        ring.write(rows(first, num))
    found, is_there = ring.rows_until(last * HOP_NS, num_hops=25)
    hops = np.arange(last - 24, last + 1)
    singly = [ring.row_at(int(hop) * HOP_NS) for hop in hops]
    assert is_there.tolist() == [row is not None for row in singly]
    assert found[:, 0].tolist() == [
        0.0 if row is None else hop for row, hop in zip(singly, hops, strict=True)
    ]
    held = {hop for first, num in spans(ring) for hop in range(first, first + num)}
    assert held.intersection(hops.tolist()) == set(hops[is_there].tolist())
