"""What is stored comes back on the timeline, by the best estimate there is when it is asked for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coeval.hops import HOP_NS
from coeval.time import NS_PER_S
from coeval_aggregator.store.alignment import align_rows
from coeval_aggregator.store.reading import Embeddings, Reader, SessionRow, TimelineRow
from coeval_aggregator.store.store import Store

from .making import ROWS, block, clock, event, evidence, kept, tick

STEP_NS = 2 * HOP_NS


class Asked:
    """A store with two nodes, and questions to it."""

    def __init__(self, store: Store, *, offset_s: float = 5.0) -> None:
        self.store = store
        blocks = [block(seq, node=node) for seq in range(50) for node in ("cam", "wrist")]
        store.write([kept(*blocks, clock(20 * NS_PER_S, offset_ns=offset_s * 1e9))])
        self.reader = Reader(store.database)

    @property
    def session(self) -> SessionRow:
        return self.reader.sessions()[0]

    @property
    def timeline(self) -> TimelineRow:
        return self.reader.timelines(self.session)[-1]

    def hops(self, stream: str, *t_s: float) -> list[float | None]:
        """Which hop of the stream's node was there at instants of the timeline."""
        t_ref_ns = np.array([round(t * NS_PER_S) for t in t_s], np.int64)
        found = align_rows(self.reader, self.session, self.timeline, t_ref_ns=t_ref_ns)[stream]
        values = zip(found.rows[:, 0].tolist(), found.is_there.tolist(), strict=True)
        return [value if is_there else None for value, is_there in values]


def test_every_row_is_the_one_that_its_clock_had_then(store: Store) -> None:
    asked = Asked(store)
    assert asked.hops("cam/mic", 0.0, 1.0, 24.96, 25.0) == [0, 20, 499, None]
    # 5 s fast, and 100 ppb: at 0 s of the timeline the wrist had already read 5 s.
    assert asked.hops("wrist/mic", -5.001, -4.9, 0.0, 1.0, 19.9, 20.0) == [
        None,
        1,
        99,
        119,
        497,
        None,
    ]


def test_of_instants_far_apart_nothing_between_is_read(store: Store) -> None:
    asked = Asked(store)
    reading, rows_read = asked.reader.embeddings, []

    def counting(*args: Any, **range_: Any) -> Embeddings:
        found = reading(*args, **range_)
        rows_read.append(len(found.hops))
        return found

    asked.reader.embeddings = counting  # type: ignore[method-assign]
    told = asked.hops("cam/mic", 0.0, 0.1, 10.0, 24.96, 1e9)
    assert told == [0, 2, 200, 499, None]
    assert max(rows_read) <= 2 * ROWS


def test_a_later_estimate_places_what_was_stored_before(store: Store) -> None:
    asked = Asked(store)
    before = asked.hops("wrist/mic", 10.0)
    better = replace(clock(30 * NS_PER_S, offset_ns=4.5e9), var_offset_ns2=1e8)
    store.write([kept(better)])
    assert before == [299]
    assert asked.hops("wrist/mic", 10.0) == [289]


def test_of_the_estimates_of_ten_seconds_the_last_places(store: Store) -> None:
    asked = Asked(store)
    # Those of 31 to 37 s are surer than that of 20 s, and the first of them is the surest.
    made = {31: 1e6, 34: 2e6, 37: 3e6}
    store.write(
        [
            kept(replace(clock(t_s * NS_PER_S, offset_ns=t_s * 1e9), var_offset_ns2=variance))
            for t_s, variance in made.items()
        ]
    )
    history = asked.reader.history(asked.timeline, node="wrist", boot="0" * 15 + "1")
    assert history is not None
    assert history.to_node(np.array([20 * NS_PER_S])).t_ns // NS_PER_S == 56
    within = asked.reader.history(
        asked.timeline, node="wrist", boot="0" * 15 + "1", from_ns=0, to_ns=10
    )
    assert within is not None
    assert within.to_node(np.array([20 * NS_PER_S])).t_ns // NS_PER_S == 56


def test_a_stream_without_a_clock_has_no_row_instead_of_a_guess(store: Store) -> None:
    asked = Asked(store)
    store.write([kept(block(0, node="roof"))])
    t_ref_ns = np.arange(0, NS_PER_S, STEP_NS)
    roof = align_rows(asked.reader, asked.session, asked.timeline, t_ref_ns=t_ref_ns)["roof/mic"]
    assert roof.ci95_s is None
    assert not roof.is_there.any()
    assert np.isnan(roof.rows).all()


def test_a_clock_of_another_run_of_the_node_does_not_count(store: Store) -> None:
    asked = Asked(store)
    store.write([kept(block(5, node="wrist", boot_id=2))])
    assert asked.hops("wrist/mic", 0.0, 1.0) == [99, 119]


def test_the_interval_is_that_of_the_estimate(store: Store) -> None:
    asked = Asked(store)
    t_ref_ns = np.array([20 * NS_PER_S - 1], np.int64)
    found = align_rows(asked.reader, asked.session, asked.timeline, t_ref_ns=t_ref_ns - 10**9)
    assert found["wrist/mic"].ci95_s == pytest.approx(1.96e-3, rel=0.05)
    assert found["cam/mic"].ci95_s == 0.0


def test_a_block_that_begins_before_the_question_answers_it(store: Store) -> None:
    asked = Asked(store)
    (run,) = [run for run in asked.reader.runs(asked.session) if run.node == "cam"]
    inside = asked.reader.embeddings(run, from_node_ns=15 * HOP_NS, to_node_ns=16 * HOP_NS)
    assert 15 in inside.hops.tolist()


def test_blocks_that_overlap_keep_the_later_and_one_row_a_hop(store: Store) -> None:
    asked = Asked(store)
    late = block(60)._replace(t0_node_ns=block(1).t0_node_ns + HOP_NS)
    store.write([kept(late)])
    (run,) = [run for run in asked.reader.runs(asked.session) if run.node == "cam"]
    found = asked.reader.embeddings(run, from_node_ns=0, to_node_ns=4 * ROWS * HOP_NS)
    assert (np.diff(found.hops) == 1).all()


def test_all_embeddings_come_in_pages_of_bounded_size(store: Store) -> None:
    asked = Asked(store)
    (run,) = [run for run in asked.reader.runs(asked.session) if run.node == "cam"]
    pages = list(asked.reader.all_embeddings(run, page=20))
    assert [len(page.hops) for page in pages] == [200, 200, 100]
    assert np.concatenate([page.hops for page in pages]).tolist() == list(range(500))


def test_the_rest_of_a_session_is_read_back(store: Store) -> None:
    asked = Asked(store)
    store.write([kept(tick(7), event(), evidence(b'{"a": 1}'))])
    clocks = asked.reader.clock_rows(asked.timeline, from_ns=0, to_ns=10**12, limit=5)
    assert [(c["node"], c["offset_ns"], c["evidence"]) for c in clocks] == [
        ("wrist", 5e9, ["content"])
    ]
    assert asked.reader.ticks(asked.timeline, from_ns=0, to_ns=8, limit=5) == [{"t_ref_ns": 7}]
    (told,) = asked.reader.events(asked.session, limit=5)
    assert (told["t_ref_ns"], told["timeline"]) == (5, asked.timeline.id)
    assert asked.reader.events(asked.session, after=told["number"], limit=5) == []
    assert asked.reader.events(asked.session, kinds=("jump",), limit=5) == []
    assert list(asked.reader.evidence(asked.session)) == [("cam", "0" * 15 + "1", b'{"a": 1}')]
